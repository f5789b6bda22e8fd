"""Lending a psycopg connection to a body in a thread, and taking it away from one that hangs.

What was lent is locked while a statement runs. Taking it away cancels that statement, and cuts the network if the
server does not answer; then it rolls back, closes, and refuses all further use. libpq is never used by two threads.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from eventseam.errors import EventseamError
from eventseam.storage.postgres_errors import ends_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from eventseam.ports.sql import Opening, Row
    from eventseam.storage.postgres_psycopg import PsycopgSql

T = TypeVar("T")


class LentSql:
    """The Sql port over a lent connection; its methods never suspend. After `take_away` every use raises."""

    __slots__ = ("_is_taken", "_lock", "sql")

    def __init__(self, sql: PsycopgSql) -> None:
        """Lend the connection of `sql`."""
        self.sql = sql
        self._lock = threading.Lock()
        self._is_taken = False

    @property
    def raw(self) -> psycopg.Connection[Any]:
        """The driver's own connection. Use it in steps given to `run` only."""
        return self.sql.raw

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Sql."""
        with self._held():
            return await self.sql.rows(statement, *args)

    async def changed(self, statement: str, *args: object) -> int:
        """See ports.sql.Sql."""
        with self._held():
            return await self.sql.changed(statement, *args)

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        with self._held():
            await self.sql.many(statement, args)

    def run(self, step: Callable[[], T]) -> T:
        """Run `step`, which uses the connection, unless that was taken away."""
        with self._held():
            self.sql.is_ours = False  # it is a tool of the user's that works now
            return step()

    def begin(self, statement: bytes, opening: Opening | None, reopen: Callable[[], PsycopgSql]) -> None:
        """Begin the transaction; on a connection that was lost while it was idle, begin on a new one."""
        with self._held():
            try:
                self.sql.begin(statement, opening)
            except psycopg.Error as error:
                if opening is not None and not (self.raw.broken or ends_connection(error)):
                    raise  # the statement's fault, not the connection's
                self.raw.close()
                self.sql = reopen()
                self.sql.begin(statement, opening)

    def cancel(self) -> None:
        """Ask the server to end the statement that runs now. It is lost on one that is only about to begin."""
        with suppress(psycopg.Error, OSError):
            self.raw.cancel_safe(timeout=1.0)

    def cut(self) -> None:
        """Cut the network under a statement that the server does not end: its thread gets an error."""
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.raw.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    def take_away(self) -> None:
        """Wait for what runs, roll back, close, and refuse all further use."""
        self._is_taken = True  # at once: the body must not get the lock again and again
        with self._lock:
            self._roll_back()
            self.raw.close()

    def end(self) -> None:
        """The body is over: roll back what it left. Call it in the body's thread."""
        with self._lock:
            self._roll_back()

    def _roll_back(self) -> None:
        if self.raw.closed or self.raw.info.transaction_status == TransactionStatus.IDLE:
            return
        try:
            self.raw.execute("ROLLBACK")
        except psycopg.Error:
            self.raw.close()

    @contextmanager
    def _held(self) -> Generator[None]:
        with self._lock:
            if self._is_taken:
                raise EventseamError("the transaction is over: its handler ran longer than its timeout_seconds")
            yield
