"""Orders' own look at its own table, for a handler that records: on a connection that only reads.

It sees what is committed. That is enough: orders of one id run one after the other, each after the commit of the one
before it, and where two processes accept the same order at once the table's key refuses the second.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, Protocol

from eventseam import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ANSWER_SECONDS = 10


class Book(Protocol):
    """Which orders are accepted."""

    async def has(self, order_id: str) -> bool:
        """Whether the order is accepted already. Raises ConnectionError while the database cannot tell."""
        ...


class FileBook:
    """The book of a SQLite file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Look into `database`."""
        self._database = database

    async def has(self, order_id: str) -> bool:
        """See Book."""
        return self._database.execute("SELECT 1 FROM orders WHERE order_id = ?", (order_id,)).fetchone() is not None


class ServerBook:
    """The book of a PostgreSQL database: one connection, opened when it is needed, on which threads take turns."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._url = url
        self._turn = threading.Lock()
        self._database: Any = None

    async def has(self, order_id: str) -> bool:
        """See Book."""
        return await asyncio.to_thread(self._has, order_id)

    def _has(self, order_id: str) -> bool:
        import psycopg

        with self._turn:
            try:
                if self._database is None or self._database.closed:
                    self._database = psycopg.connect(self._url, autocommit=True, connect_timeout=ANSWER_SECONDS)
                found = self._database.execute("SELECT 1 FROM orders WHERE order_id = %s", (order_id,)).fetchone()
            except psycopg.OperationalError as error:
                self.close()
                raise ConnectionError("the orders' database does not answer") from error
            return found is not None

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._database is not None:
            self._database.close()


@asynccontextmanager
async def open_book() -> AsyncGenerator[Book]:
    """The book of the environment's database, while the app runs."""
    url = Settings.from_env().database_url
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=5, isolation_level=None)) as database:
            yield FileBook(database)
    else:
        with closing(ServerBook(url)) as book:
            yield book
