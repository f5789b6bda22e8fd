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
    """Whether an open transaction may write: if a stranger can take the write lock, it is not the one that holds it."""
    file = connection.execute("PRAGMA database_list").fetchone()[2]
    stranger = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        stranger.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        return False
    finally:
        stranger.close()
