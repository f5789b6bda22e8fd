"""Copies of dead letters at a broker: what other programs see of what is kept in `unsettled`, and the way back.

A copy is appended to the journal in the transaction in which its message becomes dead, and the relay publishes it as
everything else, on the channel behind the message's own. The row is what counts: it holds the lane and is redriven.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from eventseam.contracts.envelope import Envelope
from eventseam.delivery.item import Parked
from eventseam.delivery.unsettled import Filter, raw, redrive
from eventseam.journal.append import timestamp
from eventseam.journal.bus import is_on_broker, on_broker, service_of
from eventseam.ports.cursors import offset_of, will_read
from eventseam.ports.probe import without_secrets
from eventseam.ports.transport import DEAD_LETTERS, Received

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eventseam.clock import Seams
    from eventseam.delivery.item import Item
    from eventseam.ports.sql import Sql

Fate = Literal["redriven", "restored", "unsettled", "settled", "unread", "unknown"]
"""What a copy led to: its row is tried again, or was added again; it is being tried already; its message was applied or
discarded since; it is still to be read, by itself and in its order; or that cannot be told, because the inbox does not
reach back to it.
"""

ERROR_CHARS_MAX: Final = 1_000
_NEVER: Final = 1 << 63
_DIGITS_MAX: Final = 19
_CHANNEL_BYTES_MAX: Final = 128
_TYPE_BYTES_MAX: Final = 256
_BODY_BYTES_MAX: Final = 4 * 1024 * 1024


async def copy_dead(sql: Sql, items: Iterable[Item], seams: Seams, now: datetime) -> int:
    """Append a copy of each message of a broker that is dead now; how many.

    A body that is larger than the journal takes (4 MiB) has no copy: its row alone has it.
    """
    count = 0
    for item in items:
        body = raw(item.received.body)
        if item.shift is not None and is_on_broker(item.shift.reader) and len(body) <= _BODY_BYTES_MAX:
            count += await sql.changed("append_dead", *_copy(item, body, seams, timestamp(now)))
    return count


def _copy(item: Item, body: bytes, seams: Seams, at: str) -> tuple[object, ...]:
    """Which row must be dead, then the journal's row: a foreign message's texts are cut to what that takes."""
    sent, handler = item.received.envelope, item.handler
    return (
        handler.service,
        handler.name,
        sent.id,
        _cut(f"{sent.channel}{DEAD_LETTERS}", _CHANNEL_BYTES_MAX),
        sent.key,
        _cut(sent.type, _TYPE_BYTES_MAX),
        body,
        at,
        seams.ids.new(),
        sent.source,
        sent.correlation_id,
        sent.id,
        sent.trace,
        sent.content_type,
        sent.schema_id,
        sent.details,
        msgspec.json.encode(_headers(item, at)).decode(),
    )


def _headers(item: Item, at: str) -> dict[str, str]:
    """What goes with a copy, at most 6 KiB. `event-id` is the message's own: the copy has another."""
    sent, parked = item.received.envelope, item.outcome
    assert isinstance(parked, Parked), "only what was given up is copied"
    cause = f"{parked.cause.error_class}: {parked.cause.message}" if parked.cause else ""
    return {
        "event-id": sent.id,
        "event-time": sent.time.isoformat(),
        "error-message": _printable(without_secrets(cause)[:ERROR_CHARS_MAX]),
        "failed-at": at,
        "retry-count": str(parked.attempts),
        "origin": f"{sent.channel}/{item.slot}@{offset_of(item.received.position)}",
        "service": item.handler.service,
        "handler": item.handler.name,
    }


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def _cut(text: str, most: int) -> str:
    """At most so many bytes of a text."""
    return text.encode()[:most].decode(errors="ignore")


class Copy(NamedTuple):
    """A dead letter as its copy tells: of which handler, and the message as it was.

    `partition` is where it lay, -1 if that cannot be read, and the message's `position` its offset there.
    """

    service: str
    handler: str
    message: Received
    partition: int = -1


class Home(NamedTuple):
    """Where restored messages of a channel belong: the number of its partitions, and Broker.slot_of.

    `oldest` says what is still there to be read: of each partition its incarnation and the first offset.
    """

    slots: int
    slot_of: Callable[[str, int], int]
    oldest: Mapping[int, tuple[str, int]] = MappingProxyType({})

    def of(self, copy: Copy) -> int:
        """The partition of a message's key."""
        return self.slot_of(copy.message.envelope.key, self.slots)

    def has_before(self, copy: Copy, stands: Iterable[tuple[str, str, int]]) -> bool:
        """Whether a copy's message is still there, and to be read by a service that stands at these spots."""
        incarnation, first = self.oldest.get(copy.partition, ("", _NEVER))
        offset = copy.message.position
        return first <= offset and all(will_read(spot, incarnation, offset) for spot in stands)


def copy_of(received: Received) -> Copy | None:
    """What a message on a channel of dead letters is the copy of; None if nobody of us has written it."""
    headers, sent = received.headers or {}, received.envelope
    names = [headers.get(name, "") for name in ("service", "handler", "event-id", "event-time")]
    service, handler, message_id, time = names
    if not all(names):
        return None
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    place, _, offset = headers.get("origin", "").rpartition("@")
    envelope = Envelope(
        id=message_id,
        type=sent.type,
        source=sent.source,
        channel=sent.channel.removesuffix(DEAD_LETTERS),
        key=sent.key,
        time=moment,
        correlation_id=sent.correlation_id,
        trace=sent.trace,
        content_type=sent.content_type,
        schema_id=sent.schema_id,
        details=sent.details,
    )
    partition, position = _number(place.rpartition("/")[2], -1), offset_of(_number(offset, 0))
    return Copy(service, handler, Received(position, envelope, received.body), partition)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX else default


async def redrive_copies(
    sql: Sql, copies: Sequence[Copy], home: Home, now: datetime, remembered: datetime | None
) -> Counter[Fate]:
    """Try the messages again of which there are copies: by their rows, or by new ones where these are gone.

    A row that is gone is added again only if the inbox, which reaches back to `remembered`, does not know its message:
    else it was applied or discarded since. Whoever owns its slot loads it again, and finds the lane taken.

    It is not added either if its service has still to read it, as after a backup was restored: then it would come
    before older messages of its key that are to be read as well.
    """
    stands = await _stands(sql)  # before the inbox is asked: who reads meanwhile is known there
    fates: Counter[Fate] = Counter()
    rows: list[int] = []
    lost: list[Copy] = []
    for copy in {(each.service, each.handler, each.message.envelope.id): each for each in copies}.values():
        at = stands[copy.service, copy.message.envelope.channel, copy.partition]
        fate, row = await _fate(sql, copy, remembered, is_before=home.has_before(copy, at))
        fates[fate] += 1
        if row is not None:
            rows.append(row)
        elif fate == "restored":
            lost.append(copy)
    for service, slot in sorted({(each.service, home.of(each)) for each in lost}):
        await sql.changed("unseat", on_broker(service, home.slots), slot)
    if rows:
        await redrive(sql, Filter(ids=tuple(rows), state="dead"), now.timestamp())
    for copy in lost:
        await _restore(sql, copy, home.of(copy), now)
    return fates


async def _stands(sql: Sql) -> defaultdict[tuple[str, str, int], list[tuple[str, str, int]]]:
    """Where services on brokers stand: the spots of each service, channel and partition."""
    readers = sorted({str(row[0]) for row in await sql.rows("all_positions")})
    found: defaultdict[tuple[str, str, int], list[tuple[str, str, int]]] = defaultdict(list)
    for reader, slot, text, _ in await sql.rows("apart_cursors", [each for each in readers if is_on_broker(each)]):
        for channel, incarnation, offset in msgspec.json.decode(text) if text is not None else ():
            found[service_of(reader), channel, slot].append((channel, incarnation, offset))
    return found


async def _fate(sql: Sql, copy: Copy, remembered: datetime | None, *, is_before: bool) -> tuple[Fate, int | None]:
    """What is to be done for a copy, and the row that it is to be done to."""
    sent = copy.message.envelope
    row, state, is_known = (await sql.rows("fate", copy.service, copy.handler, sent.id))[0]
    if state == "dead":
        return "redriven", row
    if state is not None:
        return "unsettled", None
    if is_known:
        return "settled", None
    if is_before:
        return "unread", None
    return ("restored" if remembered is None or sent.time >= remembered else "unknown"), None


async def _restore(sql: Sql, copy: Copy, slot: int, now: datetime) -> None:
    """Add the row of a copy again, and mark its message in the inbox: it may come from the broker as well."""
    message, at = copy.message, now.timestamp()
    await sql.rows("claim_inbox", [message.envelope.id], copy.service, copy.handler, timestamp(now))
    where = (copy.service, copy.handler, message.envelope.key, message.envelope.id)
    stored = msgspec.json.encode(message.envelope).decode()
    nothing = (None, None, None)
    await sql.changed(
        "park", *where, "retrying", 0, at, at, *nothing, message.position, stored, raw(message.body), slot
    )
