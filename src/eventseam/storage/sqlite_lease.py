"""Lending a connection to a body in a thread, and taking it away from one that hangs, so that its lock holds up nobody.

A connection is never closed, nor used, by two threads at once: that ends the process. What was lent is locked while a
statement runs; taking it away interrupts that statement, rolls back, and refuses all further use. It is closed when the
body is over as well.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from eventseam.errors import EventseamError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from eventseam.ports.sql import Row, Sql

T = TypeVar("T")

_INTERRUPTS_MAX = 100


class LentSql:
    """The Sql port over a lent connection; its methods never suspend. After `take_away` every use raises."""

    __slots__ = ("_connection", "_is_closed", "_is_over", "_is_taken", "_lock", "_sql")

    def __init__(self, connection: sqlite3.Connection, sql: Sql) -> None:
        """Lend `connection`, used through `sql`."""
        self._connection = connection
        self._sql = sql
        self._lock = threading.Lock()
        self._is_taken = False
        self._is_over = False
        self._is_closed = False

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's own connection. Use it in steps given to `run` only."""
        return self._connection

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Sql."""
        with self._held():
            return await self._sql.rows(statement, *args)

    async def changed(self, statement: str, *args: object) -> int:
        """See ports.sql.Sql."""
        with self._held():
            return await self._sql.changed(statement, *args)

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        with self._held():
            await self._sql.many(statement, args)

    def interrupt(self) -> None:
        """Make a statement that runs now fail soon. It is lost on one that is only about to begin: ask again."""
        with suppress(sqlite3.Error):
            self._connection.interrupt()

    def run(self, step: Callable[[], T]) -> T:
        """Run `step`, which uses the connection, unless that was taken away."""
        with self._held():
            return step()

    def take_away(self) -> None:
        """Wait for what runs, roll back, and refuse all further use."""
        self._is_taken = True  # at once: the body must not get the lock again and again
        with self._lock:
            self._roll_back()

    def end(self) -> None:
        """The body is over: roll back what it left. Call it in the body's thread."""
        with self._lock:
            self._is_over = True
            self._roll_back()

    def _roll_back(self) -> None:
        if self._is_closed:
            return
        for _ in range(_INTERRUPTS_MAX):
            if not self._connection.in_transaction:
                break
            with suppress(sqlite3.OperationalError):  # an interrupt that came late
                self._connection.execute("ROLLBACK")
        if self._is_taken and self._is_over:
            self._is_closed = True
            self._connection.close()

    @contextmanager
    def _held(self) -> Generator[None]:
        with self._lock:
            if self._is_taken:
                raise EventseamError("the transaction is over: its handler ran longer than its timeout_seconds")
            yield
