"""From a user's connection to a guest on it: the one place that knows which libraries there are.

A library is imported only if the connection's class shows that the user has loaded it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventseam.errors import WiringError

if TYPE_CHECKING:
    from eventseam.storage.guests.guest import Guest
    from eventseam.storage.guests.session import SessionGuest


def guest_on(connection: object) -> Guest | SessionGuest:
    """The guest for a connection. Raises WiringError for what is no connection of a library known here."""
    for cls in type(connection).__mro__:
        found = _of(cls.__module__.partition(".")[0], connection)
        if found is not None:
            return found
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise WiringError(
        f"cannot publish on a {kind}. Pass the connection of the journal's database: sqlite3, psycopg 3, asyncpg or "
        "Django's, or a Session, AsyncSession, Connection or AsyncConnection of SQLAlchemy"
    )


def _of(library: str, connection: object) -> Guest | SessionGuest | None:
    match library:
        case "sqlite3":
            return _sqlite(connection)
        case "psycopg":
            return _psycopg(connection)
        case "asyncpg":
            return _asyncpg(connection)
        case "sqlalchemy":
            return _sqlalchemy(connection)
        case "django":
            return _django(connection)
        case _:
            return None


def _sqlite(connection: object) -> Guest | None:
    import sqlite3

    from eventseam.storage.guests.sqlite import guest

    return guest(connection) if isinstance(connection, sqlite3.Connection) else None


def _psycopg(connection: object) -> Guest | None:
    import psycopg

    from eventseam.storage.guests.psycopg import async_guest, blocking_guest

    known: Any = connection
    if isinstance(connection, psycopg.Connection):
        return blocking_guest(known)
    return async_guest(known) if isinstance(connection, psycopg.AsyncConnection) else None


def _asyncpg(connection: object) -> Guest | None:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    from eventseam.storage.guests.asyncpg import guest

    known: Any = connection
    return guest(known) if isinstance(connection, asyncpg.Connection | PoolConnectionProxy) else None


def _sqlalchemy(connection: object) -> Guest | SessionGuest | None:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from eventseam.storage.guests.session import SessionGuest
    from eventseam.storage.guests.sqlalchemy import async_guest, guest

    known: Any = connection
    if isinstance(connection, scoped_session | async_scoped_session):
        known = known.registry()
    if isinstance(known, Connection):
        return guest(known)
    if isinstance(known, AsyncConnection):
        return async_guest(known)
    session = known.sync_session if isinstance(known, AsyncSession) else known
    return SessionGuest(session) if isinstance(session, Session) else None


def _django(connection: object) -> Guest | None:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.utils.connection import ConnectionProxy

    from eventseam.storage.guests.django import guest

    known: Any = connection
    return guest(known) if isinstance(connection, BaseDatabaseWrapper | ConnectionProxy) else None
