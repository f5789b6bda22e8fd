"""By hand, with asyncpg: the floor (a transaction of the same rows per 500 messages) and the classic consumer.

No framework: no lanes, no retry, no circuit, no time-out, no lease, no slots. The floor reads its page, decodes each
message into its declared type, writes inbox, receipt and event by unnest, and moves its position under a revision. The
classic one is what is written today: look into the inbox, BEGIN, three INSERTs, COMMIT, per message.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import psycopg

from bench.contracts import OrderPlaced, ReceiptMade, placed
from eventseam.clock import Uuid7Ids, traceparent

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 500
_TAIL = (
    "SELECT position, payload::text, message_id::text, correlation_id, trace FROM event_outbox "
    "WHERE position > $1 AND aggregate_type = 'order' ORDER BY position LIMIT $2"
)
SEEN = "SELECT 1 FROM processed_events WHERE service = 'receipts' AND handler = 'make' AND event_id = $1"
INBOX = "INSERT INTO processed_events (event_id, service, handler, processed_at) VALUES ($1, 'receipts', 'make', $2)"
RECEIPT = "INSERT INTO receipts (order_id, customer, total) VALUES ($1, $2, $3)"
INBOX_MANY = (
    "INSERT INTO processed_events (event_id, service, handler, processed_at) "
    "SELECT id, 'receipts', 'make', $2 FROM unnest($1::text[]) AS each (id) ON CONFLICT DO NOTHING"
)
RECEIPT_MANY = (
    "INSERT INTO receipts (order_id, customer, total) SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[])"
)
_COLUMNS = (
    "aggregate_type, aggregate_id, event_type, payload, created_at, message_id, source, correlation_id, causation_id, "
    "trace"
)
APPEND = f"INSERT INTO event_outbox ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_APPEND_MANY = (
    f"INSERT INTO event_outbox ({_COLUMNS}) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], "
    "$5::timestamptz[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[])"
)
_BEGIN = (
    "INSERT INTO positions (reader, slot, s1, done, hi) VALUES ('raw', 0, '1:1:', 0, 0) ON CONFLICT (reader, slot) "
    "DO UPDATE SET rev = positions.rev RETURNING done, rev"
)
_MOVE = "UPDATE positions SET done = $1, rev = rev + 1 WHERE reader = 'raw' AND slot = 0 AND rev = $2"


class Codec:
    """An order decoded and its receipt encoded, without anything around it."""

    def __init__(self) -> None:
        """Prepare both."""
        self.decode = msgspec.json.Decoder(OrderPlaced).decode
        self.encode = msgspec.json.Encoder(decimal_format="string").encode
        self.new_id = Uuid7Ids().new

    def rows(self, row: Sequence[Any], at: datetime) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
        """The id of a message of the journal, and the receipt and the event that it makes."""
        _, payload, message_id, correlation, trace = row
        event = self.decode(payload)
        body = self.encode(ReceiptMade(event.order_id, event.total)).decode()
        made = ("receipt", event.order_id, "receipt.made", body, at, self.new_id(), "receipts")
        receipt = (event.order_id, event.customer, event.total)
        return message_id, receipt, (*made, correlation, message_id, trace)


class Floor:
    """One connection that appends and consumes. It decodes, encodes and writes; nothing else."""

    def __init__(self, connection: asyncpg.Connection[Any], done: int, rev: int) -> None:
        """Use `open`."""
        self._codec = Codec()
        self._connection = connection
        self._done, self._rev = done, rev

    @classmethod
    async def open(cls, url: str) -> Floor:
        """Connect, and begin where the last one was."""
        connection = await asyncpg.connect(url)
        ((done, rev),) = await connection.fetch(_BEGIN)
        return cls(connection, done, rev)

    async def append(self, first: int, last: int, keys: int | None) -> None:
        """Append the orders `first` to `last - 1`, in transactions of 500."""
        for start in range(first, last, BATCH):
            at, rows = datetime.now(UTC), []
            for number in range(start, min(last, start + BATCH)):
                event, message_id = placed(number, keys), self._codec.new_id()
                digits = message_id.replace("-", "")
                row = (
                    "order",
                    event.customer,
                    "order.placed",
                    self._codec.encode(event).decode(),
                    at,
                    message_id,
                    "web",
                )
                rows.append((*row, message_id, None, traceparent(digits, digits[16:])))
            await self._connection.execute(_APPEND_MANY, *zip(*rows, strict=True))

    async def tidy(self) -> None:
        """What autovacuum would have done by itself in a table of some age."""
        await self._connection.execute("VACUUM ANALYZE")

    async def page(self) -> Sequence[Any]:
        """The next messages."""
        return await self._connection.fetch(_TAIL, self._done, BATCH)

    async def consume(self) -> int:
        """Handle one page in one transaction; how many messages that was."""
        at, page = datetime.now(UTC), await self.page()
        rows = [self._codec.rows(row, at) for row in page]
        ids, receipts, events = ([row[number] for row in rows] for number in range(3))
        async with self._connection.transaction():
            await self._connection.execute(INBOX_MANY, ids, at)
            await self._connection.execute(RECEIPT_MANY, *zip(*receipts, strict=True))
            await self._connection.execute(_APPEND_MANY, *zip(*events, strict=True))
            await self._move(page[-1][0])
        return len(page)

    async def consume_classic(self) -> int:
        """Handle one page, each message in a transaction of its own; how many messages that was."""
        page = await self.page()
        for row in page:
            await self.handle(row)
        await self._move(page[-1][0])
        return len(page)

    async def handle(self, row: Sequence[Any]) -> None:
        """The body of a classic handler."""
        message_id, receipt, event = self._codec.rows(row, datetime.now(UTC))
        await handle(self._connection, message_id, receipt, event)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _move(self, done: int) -> None:
        moved = await self._connection.execute(_MOVE, done, self._rev)
        assert moved == "UPDATE 1", "somebody else has moved the position"
        self._done, self._rev = done, self._rev + 1


async def handle(
    connection: asyncpg.Connection[Any], message_id: str, receipt: tuple[Any, ...], event: tuple[Any, ...]
) -> None:
    """One message the classic way: look, BEGIN, three INSERTs, COMMIT."""
    if await connection.fetchval(SEEN, message_id) is not None:
        return
    async with connection.transaction():
        await connection.execute(INBOX, message_id, event[4])
        await connection.execute(RECEIPT, *receipt)
        await connection.execute(APPEND, *event)


def consume_classic_blocking(url: str, count: int) -> None:
    """The same by psycopg, as users of `def` handlers write it."""
    codec, left, done = Codec(), count, 0
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        while left > 0:
            page = connection.execute(_TAIL, (done, BATCH)).fetchall()
            for row in page:
                message_id, receipt, event = codec.rows(row, datetime.now(UTC))
                if connection.execute(SEEN, (message_id,)).fetchone() is not None:
                    continue
                with connection.transaction():
                    connection.execute(INBOX, (message_id, event[4]))
                    connection.execute(RECEIPT, receipt)
                    connection.execute(APPEND, event)
            left, done = left - len(page), page[-1][0]


def settle(url: str) -> None:
    """Write back what is dirty, so that no round pays for the one before."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def setting(url: str, name: str) -> str:
    """A setting of a server."""
    with psycopg.connect(url) as connection:
        return str(connection.execute("SELECT current_setting(%s)", (name,)).fetchone()[0])  # type: ignore[index]


def counts(url: str, channel: str = "receipt") -> tuple[int, ...]:
    """How many receipts, inbox rows and events of a channel there are."""
    tables = ("receipts", "processed_events", f"event_outbox WHERE aggregate_type = '{channel}'")
    with psycopg.connect(url, autocommit=True) as connection:
        return tuple(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)  # type: ignore[index]
