"""Appending to the journal: outgoing messages become rows with an envelope, last in the transaction that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from eventseam.clock import Seams, traceparent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from eventseam.contracts.envelope import Envelope
    from eventseam.ports.sql import Sql

_HEX_DIGITS_OF_UUID = 32


class Appendable(Protocol):
    """What is needed of an outgoing message. `delivery.handler.Outgoing` is one."""

    @property
    def key(self) -> str:
        """The key that orders it."""
        ...

    @property
    def body(self) -> bytes:
        """The encoded message."""
        ...

    @property
    def details(self) -> str | None:
        """The link to the details, for a notification."""
        ...

    @property
    def wire(self) -> str:
        """The name on the wire."""
        ...

    @property
    def channel(self) -> str:
        """The channel's name."""
        ...


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Whose messages they are, and what caused them."""

    source: str
    correlation_id: str | None = None
    causation_id: str | None = None
    trace: str | None = None


def origin_of(source: str, cause: Envelope) -> Origin:
    """The origin of what a handler of `source` records while it handles `cause`."""
    return Origin(source, cause.correlation_id, cause.id, cause.trace)


def timestamp(moment: datetime) -> str:
    """A wall time as the journal keeps it: UTC, milliseconds, `Z`; sortable as text."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def rows_for(messages: Iterable[Appendable], origin: Origin, seams: Seams, created_at: str) -> list[tuple[object, ...]]:
    """Journal rows, one per message, with new ids. Without a cause each message starts a flow of its own."""
    made: list[tuple[object, ...]] = []
    source, correlation, causation, trace = origin.source, origin.correlation_id, origin.causation_id, origin.trace
    for message in messages:
        message_id = seams.ids.new()
        made.append(
            (
                message.channel,
                message.key,
                message.wire,
                message.body.decode(),
                created_at,
                message_id,
                source,
                correlation or message_id,
                causation,
                trace or trace_of(message_id),
                message.details,
            )
        )
    return made


def trace_of(message_id: str) -> str | None:
    """The trace context of a flow that starts with this message."""
    digits = message_id.replace("-", "")
    return traceparent(digits, digits[16:]) if len(digits) == _HEX_DIGITS_OF_UUID else None


async def append(sql: Sql, rows: Sequence[Sequence[object]]) -> None:
    """Append rows in order, in the caller's transaction. Call it last: the order of appends is that of delivery."""
    await sql.many("append", rows)
