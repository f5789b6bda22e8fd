"""A look into the database file, and foreign programs that write to it: plain sqlite3, nothing of Eventseam."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from eventseam.delivery.unsettled import discard, redrive
from eventseam.ports.sql import run_sync
from eventseam.storage.sqlite_binding import SqliteSql

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from eventseam.delivery.unsettled import Filter
    from eventseam.ports.sql import Sql


def connect(path: Path) -> sqlite3.Connection:
    """A connection of a foreign program: autocommit, patient."""
    return sqlite3.connect(path, isolation_level=None, timeout=5.0)


def query(path: Path, statement: str, *args: object) -> list[tuple[Any, ...]]:
    """Run one statement in its own transaction; all its rows."""
    with closing(connect(path)) as connection:
        return connection.execute(statement, args).fetchall()


def heard(path: Path, handler: str = "hear", who: str | None = None) -> list[int]:
    """The numbers that a handler of `talk.ears` has applied, in order of application."""
    statement = "SELECT n FROM heard WHERE handler = ? AND (? IS NULL OR who = ?) ORDER BY id"
    rows = query(path, statement, handler, who, who)
    return [row[0] for row in rows]


def unsettled(path: Path) -> list[tuple[str, str, str, int]]:
    """(handler, lane, state, attempts) of everything unsettled, oldest first."""
    return query(path, "SELECT handler, lane, state, attempts FROM unsettled ORDER BY id")


def insert(path: Path, key: object, payload: object, *, kind: object = "talk.said", channel: object = "talk") -> None:
    """What any program in any language does: a plain INSERT of the four columns."""
    query(
        path,
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES (?, ?, ?, ?)",
        channel,
        key,
        kind,
        payload,
    )


def redrive_now(path: Path, which: Filter, now: float) -> int:
    """Redrive as another process does."""
    return _operate(path, lambda sql: redrive(sql, which, now))


def discard_now(path: Path, ids: list[int], now: float) -> int:
    """Discard as another process does."""
    return _operate(path, lambda sql: discard(sql, ids, now))


def _operate(path: Path, operation: Callable[[Sql], Coroutine[Any, Any, int]]) -> int:
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        changed = run_sync(operation(SqliteSql(connection)))
        connection.execute("COMMIT")
        return changed
