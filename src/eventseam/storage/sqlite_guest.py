"""The user's own open connection, on which an event is published: what must hold for that to be safe."""

from __future__ import annotations

import sqlite3

from eventseam.errors import NotInTransaction


def checked_transaction(connection: sqlite3.Connection) -> None:
    """Raise NotInTransaction for a user's connection on which an append could get lost or fail at random."""
    if not connection.in_transaction:
        if connection.isolation_level is None or getattr(connection, "autocommit", None) is True:
            message = (
                "publishing outside a transaction: the event could be lost, or lie about a write that failed. Write "
                'connection.execute("BEGIN IMMEDIATE"), your own statements, publish(…), then connection.commit()'
            )
            raise NotInTransaction(message)
        connection.execute("BEGIN IMMEDIATE")
    elif not _holds_write_lock(connection):
        message = (
            "this transaction began deferred: as soon as it has read, SQLite may refuse its writes at random, whatever "
            'the time-out. Begin it with connection.execute("BEGIN IMMEDIATE"), or write before you publish'
        )
        raise NotInTransaction(message)


def _holds_write_lock(connection: sqlite3.Connection) -> bool:
    """Whether an open transaction may write.

    Asked of SQLite's backup, which refuses its first step from a connection that is writing, whoever else is: four
    times cheaper than trying to take the lock on a second connection, and this is asked while the lock is held.
    """
    answers: list[int] = []

    def look(status: int, _remaining: int, _total: int) -> None:
        answers.append(status)
        raise _Answered

    nowhere = sqlite3.connect(":memory:")
    try:
        connection.backup(nowhere, pages=1, progress=look)
    except _Answered:
        pass
    finally:
        nowhere.close()
    return answers != [] and answers[0] in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _Answered(Exception):  # noqa: N818 - it ends a backup that has told what was asked
    """The backup's first step is over."""
