"""Orders' own look at its own table, for a handler that records: on a connection that only reads.

It sees what is committed. That is enough: messages of one order run one after the other, each after the commit of the
one before it, and nobody else writes the table.
"""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from eventseam import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Book:
    """Which orders are accepted."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Look into `database`."""
        self._database = database

    def has(self, order_id: str) -> bool:
        """Whether the order is accepted already."""
        return self._database.execute("SELECT 1 FROM orders WHERE order_id = ?", (order_id,)).fetchone() is not None


@asynccontextmanager
async def open_book() -> AsyncGenerator[Book]:
    """The book of the environment's database, while the app runs."""
    path = Settings.from_env().database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as database:
        yield Book(database)
