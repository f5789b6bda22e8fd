"""A SQLAlchemy Connection or AsyncConnection over any of its drivers for PostgreSQL and SQLite.

Rows are inserted at once, through the connection itself: its savepoints, events and logs apply to them as to any
statement of the user's. Their place is that of the call: it is the user who publishes last.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from eventseam.errors import NotInTransaction, WiringError
from eventseam.storage.guests.guest import Guest, GuestSql
from eventseam.storage.guests.sqlite import check_lock, check_lock_awaited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection

    from eventseam.storage.guests.guest import Style
    from eventseam.storage.guests.sqlite import AwaitedConnection

    Parameters = dict[str, object] | Sequence[object]

_STYLES: Mapping[str, Style] = {"numeric_dollar": "dollar", "pyformat": "pyformat", "qmark": "numbered"}
_IMMEDIATE = (
    'Write before you publish, or begin with the lock: @event.listens_for(engine, "begin") calling '
    'connection.exec_driver_sql("BEGIN IMMEDIATE"), with isolation_level = None on the sqlite3 connection'
)


def guest(connection: Connection) -> Guest:
    """A `Connection`. Raises WiringError for a database or driver that has no journal."""

    async def execute(text: str, args: Parameters) -> Sequence[Sequence[Any]]:
        return _execute(connection, text, args)

    async def check() -> None:
        _check(connection)

    return Guest(_sql(connection.dialect, execute), check, lambda: str(connection.engine.url))


def async_guest(connection: AsyncConnection) -> Guest:
    """An `AsyncConnection`. Raises WiringError as above."""

    async def execute(text: str, args: Parameters) -> Sequence[Sequence[Any]]:
        return await connection.run_sync(_execute, text, args)

    async def check() -> None:
        await connection.run_sync(_check)

    return Guest(_sql(connection.dialect, execute), check, lambda: str(connection.engine.url), waits=True)


def check_dialect(dialect: Dialect) -> Style:
    """The driver's style of parameters. Raises WiringError for a database or driver that has no journal."""
    if dialect.name not in {"sqlite", "postgresql"}:
        raise WiringError(
            f"cannot publish through SQLAlchemy to {dialect.name}. The journal is in SQLite or PostgreSQL: pass a "
            "session or connection of that database"
        )
    style = _STYLES.get(dialect.paramstyle)
    if style is None:
        raise WiringError(
            f"cannot publish through SQLAlchemy's driver {dialect.driver}. Use postgresql+psycopg://, "
            "postgresql+asyncpg://, sqlite:// or sqlite+aiosqlite://"
        )
    return style


def _sql(dialect: Dialect, execute: Callable[[str, Any], Any]) -> GuestSql:
    return GuestSql(dialect.name, check_dialect(dialect), execute)


def _execute(connection: Connection, text: str, args: Parameters) -> Sequence[Sequence[Any]]:
    parameters: Any = args if isinstance(args, dict) else tuple(args)  # a list would mean many executions
    result = connection.exec_driver_sql(text, parameters)
    return result.fetchall() if result.returns_rows else ()


def _check(connection: Connection) -> None:
    if not connection.in_transaction():
        connection.begin()  # as the first statement would
    pooled = connection.connection
    if _is_autocommit(connection) or getattr(pooled.dbapi_connection, "autocommit", None) is True:
        raise NotInTransaction(
            "publishing in isolation level AUTOCOMMIT: the event could be lost, or lie about a write that failed. Use "
            "an engine or connection without it: connection.execution_options(isolation_level=…)"
        )
    if connection.dialect.name != "sqlite":
        return
    if isinstance(pooled.driver_connection, sqlite3.Connection):
        check_lock(pooled.driver_connection, _IMMEDIATE)
    else:
        adapted: Any = pooled.dbapi_connection  # aiosqlite's, whose thread is another one
        adapted.run_async(_check_lock_awaited)


async def _check_lock_awaited(connection: AwaitedConnection) -> None:
    await check_lock_awaited(connection, _IMMEDIATE)


def _is_autocommit(connection: Connection) -> bool:
    """What was asked for, without asking the database, whose session says READ COMMITTED all the same."""
    chosen = connection.get_execution_options().get("isolation_level")
    if chosen is None:
        chosen = getattr(connection.dialect, "_on_connect_isolation_level", None)
    return chosen == "AUTOCOMMIT"
