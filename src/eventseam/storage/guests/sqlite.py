"""A user's sqlite3 connection: the rule for an append that can neither get lost nor fail at random.

SQLite refuses the first write of a transaction that began deferred and has read, whenever somebody else wrote in
between: at random, under load only. So an event is published under the write lock, or refused always.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

from eventseam.errors import NotInTransaction
from eventseam.storage.guests.guest import Guest
from eventseam.storage.sqlite_binding import SqliteSql

if TYPE_CHECKING:
    from collections.abc import Callable

BEGIN_IMMEDIATE = 'Begin it with connection.execute("BEGIN IMMEDIATE"), or write before you publish'
"""How the user takes the lock on a plain connection; libraries above sqlite3 have words of their own."""


def guest(connection: sqlite3.Connection) -> Guest:
    """A plain sqlite3 connection."""

    async def check() -> None:
        check_lock(connection)

    return Guest(SqliteSql(connection), check, lambda: file_of(connection))


def file_of(connection: sqlite3.Connection) -> str:
    """The path of a connection's database."""
    return str(connection.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0])


def check_lock(connection: sqlite3.Connection, fix: str = BEGIN_IMMEDIATE) -> None:
    """Raise NotInTransaction for a connection on which an append could get lost or fail at random.

    A connection that begins by itself before its first write begins here.
    """
    if not connection.in_transaction:
        if _never_begins(connection):
            raise NotInTransaction(_OUTSIDE)
        connection.execute("BEGIN IMMEDIATE")
        return
    with _Look() as look, suppress(_Answered):
        connection.backup(look.nowhere, pages=1, progress=look.answer)
    look.demand_lock(fix)


class AwaitedConnection(Protocol):
    """What is needed of aiosqlite's connection, whose sqlite3 connection lives in another thread."""

    @property
    def in_transaction(self) -> bool:
        """As sqlite3's."""
        ...

    @property
    def isolation_level(self) -> str | None:
        """As sqlite3's."""
        ...

    async def execute(self, sql: str, /) -> object:
        """As sqlite3's."""
        ...

    async def backup(
        self, target: sqlite3.Connection, /, *, pages: int, progress: Callable[[int, int, int], None]
    ) -> None:
        """As sqlite3's."""
        ...


async def check_lock_awaited(connection: AwaitedConnection, fix: str) -> None:
    """As `check_lock`, on aiosqlite's connection."""
    if not connection.in_transaction:
        if _never_begins(connection):
            raise NotInTransaction(_OUTSIDE)
        await connection.execute("BEGIN IMMEDIATE")
        return
    with _Look() as look, suppress(_Answered):
        await connection.backup(look.nowhere, pages=1, progress=look.answer)
    look.demand_lock(fix)


_OUTSIDE = (
    "publishing outside a transaction: the event could be lost, or lie about a write that failed. Write "
    'connection.execute("BEGIN IMMEDIATE"), your own statements, publish(…), then connection.commit()'
)


def _never_begins(connection: sqlite3.Connection | AwaitedConnection) -> bool:
    return connection.isolation_level is None or getattr(connection, "autocommit", None) is True


class _Look:
    """Whether an open transaction may write.

    Asked of SQLite's backup, which refuses its first step from a connection that is writing, whoever else is: four
    times cheaper than trying to take the lock on a second connection, and this is asked while the lock is held.
    """

    def __init__(self) -> None:
        self.nowhere = sqlite3.connect(":memory:", check_same_thread=False)
        self._answers: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.nowhere.close()

    def answer(self, status: int, _remaining: int, _total: int) -> None:
        self._answers.append(status)
        raise _Answered

    def demand_lock(self, fix: str) -> None:
        if not self._answers or self._answers[0] not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            message = (
                "this transaction began deferred: as soon as it has read, SQLite may refuse its writes at random, "
                f"whatever the time-out. {fix}"
            )
            raise NotInTransaction(message)


class _Answered(Exception):  # noqa: N818 - it ends a backup that has told what was asked
    """The backup's first step is over."""
