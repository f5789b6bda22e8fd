"""PostgreSQL as the bus: a relay adds its messages to the journal of a database in which services meet.

A batch is one transaction: all of it lands, or nothing. After an unknown outcome the same messages are published again
under the same ids, and the readers' inboxes absorb what they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from eventseam.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.ports.sql import Sql, Store
    from eventseam.ports.transport import Received

_OF_A_MESSAGE = ("22", "23")
"""SQLSTATE classes that speak of values: data exceptions, violated constraints. All others are the bus's affair."""


class PostgresSink:
    """See ports.transport.Sink."""

    def __init__(self, bus: Store) -> None:
        """Publish into the journal of `bus`, which is migrated."""
        self._bus = bus

    async def publish(self, batch: Sequence[Received]) -> None:
        """See ports.transport.Sink. Raises StorageUnavailable or OutcomeUnknown, or what is wrong with a message."""
        rows = [_row(message) for message in batch]

        async def append(sql: Sql) -> None:
            await sql.rows("be_durable")
            await sql.many("append_whole", rows)

        try:
            await self._bus.write(append)
        except Exception as error:
            state = getattr(error, "sqlstate", None)
            if isinstance(error, StorageError) or state is None or state[:2] in _OF_A_MESSAGE:
                raise
            raise StorageUnavailable(
                f"the bus refuses every message: {error}. Check its tables and our rights"
            ) from error
        self._bus.announce()


def _row(message: Received) -> tuple[object, ...]:
    envelope, (text, raw) = message.envelope, _body(message.body)
    return (
        envelope.channel,
        envelope.key,
        envelope.type,
        text,
        raw,
        envelope.time.isoformat(),
        envelope.id,
        envelope.source,
        envelope.correlation_id,
        envelope.causation_id,
        envelope.trace,
        envelope.content_type,
        envelope.schema_id,
        envelope.details,
    )


def _body(body: bytes | str) -> tuple[str | None, bytes | None]:
    """JSON that jsonb can hold as text; anything else as its bytes, for its readers to judge."""
    raw = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
    try:
        msgspec.json.decode(raw)
        text = raw.decode()
    except (ValueError, RecursionError):
        return None, raw
    return (None, raw) if "\\u0000" in text else (text, None)
