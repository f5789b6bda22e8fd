"""What did not succeed yet: the rows of `unsettled`, their transitions, and the operations on them.

The head of a lane is retrying or dead; everything behind it waits. Attempts, next time and cause live here, in the
transaction of the apply: never in a broker's headers and never in memory alone.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from eventseam.contracts.envelope import Envelope
from eventseam.ports.transport import Received

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.delivery.item import Cause, Item, Parked
    from eventseam.ports.sql import Row, Sql

State = Literal["retrying", "waiting", "dead"]

TRANSITIONS = MappingProxyType(
    {
        ("-", "failed"): "retrying",
        ("-", "gave up"): "dead",
        ("-", "came behind a head"): "waiting",
        ("retrying", "failed"): "retrying",
        ("retrying", "gave up"): "dead",
        ("retrying", "applied"): "-",
        ("retrying", "discarded"): "-",
        ("waiting", "became the head"): "retrying",
        ("waiting", "discarded"): "-",
        ("dead", "redriven"): "retrying",
        ("dead", "discarded"): "-",
    }
)
"""Every way an unsettled message can change ("-" = no row); the docs draw it from here."""

_ROOM_BYTES: Final = 64 * 1024


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """One row, as `eventseam dlq` shows it. `body` is None in lists; times are Unix seconds."""

    id: int
    service: str
    handler: str
    lane: str
    message_id: str
    state: State
    attempts: int
    next_at: float
    since: float
    error_class: str | None
    error_message: str | None
    error_trace: str | None
    position: int
    envelope: Envelope
    body: bytes | None = None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows are meant; a field that is None excludes nothing."""

    service: str | None = None
    handler: str | None = None
    state: State | None = None
    ids: tuple[int, ...] | None = None
    limit: int = 100


class StateCount(msgspec.Struct, frozen=True):
    """How many rows of one handler are in one state."""

    service: str
    handler: str
    state: State
    count: int


async def list_unsettled(sql: Sql, which: Filter) -> list[Unsettled]:
    """The rows that `which` means, oldest first, without their bodies."""
    rows = await sql.rows("list_unsettled", which.service, which.handler, which.state, _ids(which.ids), which.limit)
    return [_unsettled(row) for row in rows]


async def count_unsettled(sql: Sql) -> list[StateCount]:
    """How many rows each handler has in each state."""
    return [StateCount(*row) for row in await sql.rows("count_unsettled")]


async def show_unsettled(sql: Sql, row_id: int) -> Unsettled | None:
    """One row with its raw body, or None."""
    rows = await sql.rows("show_unsettled", row_id)
    return _unsettled(rows[0]) if rows else None


async def redrive(sql: Sql, which: Filter, now: float) -> int:
    """Give the dead letters (or, by id, retrying messages) that `which` means all their attempts again, from now."""
    state = which.state or (None if which.ids is not None else "dead")
    return await sql.changed("redrive", which.service, which.handler, state, _ids(which.ids), now)


async def discard(sql: Sql, ids: Sequence[int], now: float) -> int:
    """Drop rows for good; what waited behind each becomes the head of its lane. Returns how many there were."""
    dropped = 0
    for row_id in ids:
        for service, handler, lane in await sql.rows("discard", row_id):
            dropped += 1
            await sql.changed("promote", service, handler, lane, now)
    return dropped


async def park(sql: Sql, item: Item, parked: Parked, now: float) -> bool:
    """Add the row of a message from a source; False if it has one already, from a time that the inbox has forgotten."""
    cause = parked.cause
    added = await sql.changed(
        "park",
        item.handler.service,
        *item.lane,
        item.received.envelope.id,
        parked.state,
        parked.attempts,
        parked.next_at,
        now,
        cause.error_class if cause else None,
        cause.message if cause else None,
        cause.trace if cause else None,
        item.received.position,
        msgspec.json.encode(item.received.envelope).decode(),
        raw(item.received.body),
        item.slot,
    )
    return bool(added)


async def rehearse(sql: Sql, item: Item, message_id: str, now: float) -> None:
    """Add a row like the one that parking `item` would add, and take it away again: proof that there is room for it."""
    where = (item.handler.service, *item.lane, message_id)
    nothing = (None, None, None)
    await sql.changed(
        "park", *where, "retrying", 0, now, now, *nothing, item.received.position, "{}", _room(), item.slot
    )
    await sql.changed("unpark", *where)


@cache
def _room() -> bytes:
    """Bytes that no database can make smaller: on a full disk small rows still find a place, these do not."""
    return b"".join(sha256(n.to_bytes(4, "big")).digest() for n in range(_ROOM_BYTES // 32))


async def settle(sql: Sql, item: Item, now: float) -> bool:
    """Drop the row of a retried message and promote the next of its lane; False if the row is not retrying any more."""
    if not await sql.changed("settle", item.row):
        return False
    await _promote(sql, item, now)
    return True


async def postpone(sql: Sql, item: Item, parked: Parked, now: float) -> bool:
    """Note another failed attempt (or none) of a retried message; False if the row is not retrying any more."""
    if parked.state == "rerouted":
        for handler in parked.to:
            await sql.changed("reroute", item.row, handler, now)
        return await settle(sql, item, now)
    item.lane_is_free = False  # an apply that was rolled back may have found it free
    cause = parked.cause
    texts = (cause.error_class, cause.message, cause.trace) if cause else (None, None, None)
    return bool(await sql.changed("postpone", item.row, parked.state, parked.attempts, parked.next_at, *texts))


async def _promote(sql: Sql, item: Item, now: float) -> None:
    item.lane_is_free = not await sql.changed("promote", item.handler.service, *item.lane, now)


def retried(position: int, envelope: str, body: bytes) -> Received:
    """The message of an unsettled row, as it came from its source."""
    return Received(position, msgspec.json.decode(envelope, type=Envelope), body)


def raw(body: bytes | str) -> bytes:
    """A body's bytes, whatever is in it."""
    return body if isinstance(body, bytes) else body.encode("utf-8", "surrogateescape")


def _unsettled(row: Row) -> Unsettled:
    fields = dict(zip(Unsettled.__struct_fields__, row, strict=True))
    fields["envelope"] = msgspec.json.decode(fields["envelope"], type=Envelope)
    return Unsettled(**fields)


def _ids(ids: tuple[int, ...] | None) -> list[int] | None:
    return None if ids is None else list(ids)


async def keep_dead(sql: Sql, reader: str, received: Received, cause: Cause, now: float) -> None:
    """Add a dead letter of a relay: a message that its sink does not take."""
    envelope = received.envelope
    texts = (cause.error_class, cause.message, cause.trace)
    stored = msgspec.json.encode(envelope).decode()
    where = (reader, "relay", envelope.key, envelope.id)
    await sql.changed("park", *where, "dead", 1, now, now, *texts, received.position, stored, raw(received.body), 0)
