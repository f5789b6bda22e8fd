"""The floor: the same rows as the engine writes, by plain sqlite3 in transactions of 500, with the same pragmas.

No framework: no lanes, no retry, no circuit, no time-out, no lease, no second thread. It reads its page, decodes each
message into its declared type, writes inbox, business row and outbox row by executemany, and moves its position.
"""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from bench.contracts import OrderPlaced, ReceiptMade, placed
from eventseam.clock import Uuid7Ids, traceparent

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 500
_TAIL = (
    "SELECT id, aggregate_id, event_type, payload, message_id, correlation_id, trace FROM event_outbox "
    "WHERE id > ? AND aggregate_type = 'order' ORDER BY id LIMIT ?"
)
_INBOX = (
    "INSERT INTO processed_events (event_id, service, handler, processed_at) VALUES (?, 'receipts', 'make', ?) "
    "ON CONFLICT DO NOTHING"
)
_BUSINESS = "INSERT INTO receipts (order_id, customer, total) VALUES (?, ?, ?)"
APPEND = (
    "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, created_at, message_id, source, "
    "correlation_id, causation_id, trace, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
)
_POSITION = "UPDATE positions SET done = ?, rev = rev + 1 WHERE reader = 'receipts' AND slot = 0 AND rev = ?"


def connect(path: Path, durability: str) -> sqlite3.Connection:
    """As the engine opens its own connections."""
    connection = sqlite3.connect(path, timeout=5, isolation_level=None, cached_statements=512)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {durability}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def now() -> str:
    """A wall time as the journal keeps it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Floor:
    """One connection that appends and consumes. It decodes, encodes and writes; nothing else."""

    def __init__(self, path: Path, durability: str) -> None:
        self._decode = msgspec.json.Decoder(OrderPlaced).decode
        self._encode = msgspec.json.Encoder(decimal_format="string").encode
        self._new_id = Uuid7Ids().new
        self._connection = connect(path, durability)
        self._connection.execute("INSERT INTO positions (reader, slot) VALUES ('receipts', 0) ON CONFLICT DO NOTHING")
        query = "SELECT done, rev FROM positions WHERE reader = 'receipts'"
        self._position, self._rev = self._connection.execute(query).fetchone()

    def append(self, first: int, last: int, keys: int | None) -> None:
        """Append the orders `first` to `last - 1` in one transaction."""
        at, rows = now(), []
        for number in range(first, last):
            event, message_id = placed(number, keys), self._new_id()
            digits = message_id.replace("-", "")
            body = self._encode(event).decode()
            row = ("order", event.customer, "order.placed", body, at, message_id, "web")
            rows.append((*row, message_id, None, traceparent(digits, digits[16:])))
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(APPEND, rows)
        self._connection.execute("COMMIT")

    def consume(self) -> int:
        """Handle one page in one transaction; how many messages that was."""
        page = self._connection.execute(_TAIL, (self._position, BATCH)).fetchall()
        at, position = now(), self._position
        inbox, business, outbox = [], [], []
        for position, _, _, payload, message_id, correlation, trace in page:  # noqa: B007 - the last one is used
            event = self._decode(payload)
            inbox.append((message_id, at))
            business.append((event.order_id, event.customer, str(event.total)))
            body = self._encode(ReceiptMade(event.order_id, event.total)).decode()
            row = ("receipt", event.order_id, "receipt.made", body, at, self._new_id(), "receipts")
            outbox.append((*row, correlation, message_id, trace))
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_INBOX, inbox)
        self._connection.executemany(_BUSINESS, business)
        self._connection.executemany(APPEND, outbox)
        moved = self._connection.execute(_POSITION, (position, self._rev)).rowcount
        assert moved == 1, "somebody else has moved the position"
        self._connection.execute("COMMIT")
        self._position, self._rev = position, self._rev + 1
        return len(page)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def consume(path: Path, durability: str, expected: int) -> float:
    """Seconds in which all orders of the journal are handled."""
    floor = Floor(path, durability)
    began = time.perf_counter()
    while expected > 0:
        expected -= floor.consume()
    seconds = time.perf_counter() - began
    floor.close()
    return seconds


def publish(path: Path, durability: str, expected: int) -> float:
    """Seconds in which `expected` orders are appended and handled, in batches that take turns."""
    floor = Floor(path, durability)
    began = time.perf_counter()
    for first in range(0, expected, BATCH):
        floor.append(first, min(expected, first + BATCH), None)
        floor.consume()
    seconds = time.perf_counter() - began
    floor.close()
    return seconds
