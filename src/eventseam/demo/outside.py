"""What the shop does not own: a warehouse and a card gateway, played by one SQLite file beside the shop's database.

The file is named by the environment's SHOP_OUTSIDE; without it everything is in stock and every card is good. It is
written on its own, never in a transaction of the shop, so that the gateway's ledger can convict the shop of charging
twice. It also remembers what the demo must not forget over a kill: the outage, what the chain answered, and where
services meet.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Sequence

VARIABLE = "SHOP_OUTSIDE"

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS missing (order_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS declined (order_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS charges (
    idempotency_key TEXT PRIMARY KEY,
    order_id        TEXT NOT NULL,
    amount          TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS outage (began_at REAL NOT NULL, ended_at REAL);
CREATE TABLE IF NOT EXISTS answers (order_id TEXT PRIMARY KEY, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meeting (place TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tally (run INTEGER PRIMARY KEY, retries INTEGER NOT NULL, duplicates INTEGER NOT NULL);
"""

BUSY_SECONDS = 5.0


class Outage(NamedTuple):
    """When the gateway went down, and when it came back (None while it is down), in unix seconds."""

    began_at: float
    ended_at: float | None


class Outside:
    """The file, open in one process. Every method is one short transaction of its own; threads take turns."""

    def __init__(self, path: str) -> None:
        """Open or make the file at `path`."""
        self._turn = threading.Lock()
        # A kill -9 loses nothing that was committed: the page cache is the machine's, so no sync is waited for.
        self._sql = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._sql.executescript(TABLES)
        self._sql.execute("PRAGMA synchronous = OFF")

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    def prepare(self, missing: Iterable[str], declined: Iterable[str]) -> None:
        """Decide once which orders the warehouse will not have and which cards the gateway will decline."""
        with self._turn:
            self._sql.execute("BEGIN IMMEDIATE")
            self._sql.executemany("INSERT OR IGNORE INTO missing VALUES (?)", [(each,) for each in missing])
            self._sql.executemany("INSERT OR IGNORE INTO declined VALUES (?)", [(each,) for each in declined])
            self._sql.execute("COMMIT")

    def has(self, order_id: str) -> bool:
        """Whether the warehouse has the items of an order."""
        return not self._rows("SELECT 1 FROM missing WHERE order_id = ?", order_id)

    def charge(self, order_id: str, amount: Decimal, key: str) -> str | None:
        """The receipt of the one charge of `key`; None if the card is declined. Raises ConnectionError in an outage."""
        if self._rows("SELECT 1 FROM outage WHERE ended_at IS NULL"):
            raise ConnectionError("the card gateway is down")
        if self._rows("SELECT 1 FROM declined WHERE order_id = ?", order_id):
            return None
        self._rows("INSERT OR IGNORE INTO charges VALUES (?, ?, ?)", key, order_id, str(amount))
        return f"receipt-{order_id}"

    def charges(self, like: str) -> Sequence[tuple[str, Decimal]]:
        """Order and amount of every charge whose idempotency key is LIKE that."""
        rows = self._rows("SELECT order_id, amount FROM charges WHERE idempotency_key LIKE ?", like)
        return [(order_id, Decimal(amount)) for order_id, amount in rows]

    def charged(self) -> list[str]:
        """The orders that payments has charged, one for each charge."""
        return [order_id for order_id, _ in self.charges("payments/%")]

    def begin_outage(self, now: float) -> None:
        """The gateway goes down. It does so once; a second time changes nothing."""
        self._rows("INSERT INTO outage SELECT ?, NULL WHERE NOT EXISTS (SELECT 1 FROM outage)", now)

    def end_outage(self, now: float) -> None:
        """The gateway comes back."""
        self._rows("UPDATE outage SET ended_at = ? WHERE ended_at IS NULL", now)

    def outage(self) -> Outage | None:
        """The outage, or None while there has been none."""
        rows = self._rows("SELECT began_at, ended_at FROM outage")
        return Outage(*rows[0]) if rows else None

    def answer(self, order_id: str, answer: str) -> None:
        """A customer of the chain writes down what came back."""
        self._rows("INSERT OR IGNORE INTO answers VALUES (?, ?)", order_id, answer)

    def answers(self) -> dict[str, str]:
        """What came back, by order."""
        return dict(self._rows("SELECT order_id, answer FROM answers"))

    def meet(self, place: str) -> None:
        """The services meet there from now on."""
        self._rows("INSERT INTO meeting VALUES (?)", place)

    def meeting(self) -> str | None:
        """Where the services meet, or None while that is their journal."""
        rows = self._rows("SELECT place FROM meeting")
        return rows[0][0] if rows else None

    def begin_run(self) -> int:
        """The number of this run of the demo on this file; a resumed demo has several."""
        run: int = self._rows("INSERT INTO tally (retries, duplicates) VALUES (0, 0) RETURNING run")[0][0]
        return run

    def count(self, run: int, retries: int, duplicates: int) -> None:
        """Keep what the engine has told of `run` so far."""
        self._rows("UPDATE tally SET retries = ?, duplicates = ? WHERE run = ?", retries, duplicates, run)

    def counts(self) -> tuple[int, int]:
        """Retries and absorbed duplicates, over all runs."""
        retries, duplicates = self._rows("SELECT sum(retries), sum(duplicates) FROM tally")[0]
        return (retries or 0, duplicates or 0)

    def _rows(self, sql: str, *args: object) -> list[Any]:
        """Run one statement to its end: one that is left half read would hold its lock."""
        with self._turn:
            return self._sql.execute(sql, args).fetchall()


class Warehouse:
    """The warehouse as inventory sees it."""

    def __init__(self, outside: Outside) -> None:
        """Ask `outside`."""
        self._outside = outside

    async def has(self, order_id: str) -> bool:
        """Whether the items of an order can be had."""
        return self._outside.has(order_id)


class CardGateway:
    """The card gateway as payments sees it."""

    def __init__(self, outside: Outside) -> None:
        """Ask `outside`."""
        self._outside = outside

    async def charge(self, order_id: str, amount: Decimal, *, idempotency_key: str) -> str | None:
        """See Outside.charge."""
        return self._outside.charge(order_id, amount, idempotency_key)


@contextmanager
def opened(path: str) -> Generator[Outside]:
    """The file at `path`, closed at the end."""
    outside = Outside(path)
    try:
        yield outside
    finally:
        outside.close()


@asynccontextmanager
async def open_warehouse() -> AsyncGenerator[Warehouse]:
    """The warehouse of the environment, while the app runs."""
    with opened(os.environ.get(VARIABLE, ":memory:")) as outside:
        yield Warehouse(outside)


@asynccontextmanager
async def open_gateway() -> AsyncGenerator[CardGateway]:
    """The card gateway of the environment, while the app runs."""
    with opened(os.environ.get(VARIABLE, ":memory:")) as outside:
        yield CardGateway(outside)
