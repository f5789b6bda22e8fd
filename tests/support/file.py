"""A look into a test's database, and foreign programs that write to it: sqlite3 or psycopg, nothing of Eventseam.

A place is a file or a URL (see `place`); placeholders are `?` in both.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from eventseam.delivery.unsettled import discard, redrive, show_unsettled
from eventseam.ports.sql import run_sync
from eventseam.storage.postgres_psycopg import PsycopgSql
from eventseam.storage.sqlite_binding import SqliteSql
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from eventseam.delivery.unsettled import Filter, Unsettled
    from eventseam.ports.sql import Sql
    from tests.support.place import Place


def connect(path: Path) -> sqlite3.Connection:
    """A connection of a foreign program to a file: autocommit, patient."""
    return sqlite3.connect(path, isolation_level=None, timeout=5.0)


def query(place: Place, statement: str, *args: object) -> list[tuple[Any, ...]]:
    """Run one statement in its own transaction; all its rows."""
    if isinstance(place, str):
        return postgres.query(place, statement.replace("?", "%s"), *args)
    with closing(connect(place)) as connection:
        return connection.execute(statement, args).fetchall()


def heard(place: Place, handler: str = "hear", who: str | None = None) -> list[int]:
    """The numbers that a handler of `talk.ears` has applied, in order of application."""
    statement = "SELECT n FROM heard WHERE handler = ? AND (CAST(? AS TEXT) IS NULL OR who = ?) ORDER BY id"
    return [row[0] for row in query(place, statement, handler, who, who)]


def unsettled(place: Place) -> list[tuple[str, str, str, int]]:
    """(handler, lane, state, attempts) of everything unsettled, oldest first."""
    return query(place, "SELECT handler, lane, state, attempts FROM unsettled ORDER BY id")


def insert(place: Place, key: object, payload: object, *, kind: object = "talk.said", channel: object = "talk") -> None:
    """What any program in any language does: a plain INSERT of the four columns."""
    query(
        place,
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES (?, ?, ?, ?)",
        channel,
        key,
        kind,
        payload,
    )


def unfinished(place: Place) -> int:
    """How many rows of the journal some reader's saved position says are not finished."""
    of_sqlite = "SELECT count(*) FROM event_outbox o JOIN positions p ON o.id > p.done"
    of_postgres = (
        "SELECT count(*) FROM event_outbox o JOIN positions p ON p.slot = o.slot "
        "WHERE NOT eventseam_has_finished(p, o.era, o.x, o.position)"
    )
    found: int = query(place, of_postgres if isinstance(place, str) else of_sqlite)[0][0]
    return found


def give_slots_to(place: Place, owner: str, seconds: float) -> None:
    """Take every slot away from whoever has it, by a lease of `owner`."""
    until = "to_timestamp(?)" if isinstance(place, str) else "?"
    change = f"UPDATE positions SET owner = ?, lease_until = {until}, rev = rev + 1"
    query(place, change, owner, time.time() + seconds)


def redrive_now(place: Place, which: Filter, now: float) -> int:
    """Redrive as another process does."""
    changed: int = _operate(place, lambda sql: redrive(sql, which, now))
    return changed


def discard_now(place: Place, ids: list[int], now: float) -> int:
    """Discard as another process does."""
    changed: int = _operate(place, lambda sql: discard(sql, ids, now))
    return changed


def shown(place: Place, row_id: int) -> Unsettled:
    """An unsettled row whole."""
    found: Unsettled | None = _operate(place, lambda sql: show_unsettled(sql, row_id))
    assert found is not None
    return found


def _operate(place: Place, operation: Callable[[Sql], Coroutine[Any, Any, Any]]) -> Any:
    if isinstance(place, str):
        with postgres.connect(place) as shared, shared.transaction():
            return run_sync(operation(PsycopgSql(shared)))
    with closing(connect(place)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        changed = run_sync(operation(SqliteSql(connection)))
        connection.execute("COMMIT")
        return changed
