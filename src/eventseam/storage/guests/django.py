"""A Django database connection, `connections[alias]` or `django.db.connection`, inside `transaction.atomic()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from eventseam.errors import NotInTransaction, WiringError
from eventseam.storage.guests.guest import Guest, GuestSql
from eventseam.storage.guests.sqlite import check_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

_IMMEDIATE = (
    "Write before you publish, or let every transaction begin with the lock: DATABASES = {'default': {…, 'OPTIONS': "
    "{'transaction_mode': 'IMMEDIATE'}}} (Django 5.1)"
)


class Cursor(Protocol):
    """What is needed of Django's cursor."""

    @property
    def description(self) -> object:
        """Not None where the statement gives rows."""
        ...

    def execute(self, sql: str, params: Mapping[str, object], /) -> object:
        """Run one statement."""
        ...

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """All rows."""
        ...


class Connection(Protocol):
    """What is needed of Django's connection, which the proxy `django.db.connection` has too."""

    vendor: str
    in_atomic_block: bool
    needs_rollback: bool
    connection: Any
    settings_dict: Mapping[str, Any]

    def ensure_connection(self) -> None:
        """Connect if that was not needed yet."""
        ...

    def get_autocommit(self) -> bool:
        """Whether each statement is a transaction of its own."""
        ...

    def cursor(self) -> AbstractContextManager[Cursor]:
        """A cursor, with what Django does around each statement."""
        ...


def guest(connection: Connection) -> Guest:
    """A Django connection to SQLite or PostgreSQL. Raises WiringError for another database."""
    if connection.vendor not in {"sqlite", "postgresql"}:
        raise WiringError(
            f"cannot publish on Django's connection to {connection.vendor}. The journal is in SQLite or PostgreSQL: "
            "pass connections[alias] of that database"
        )

    async def execute(text: str, args: Mapping[str, object]) -> Sequence[Sequence[Any]]:
        with connection.cursor() as cursor:
            cursor.execute(text, args)
            return cursor.fetchall() if cursor.description else ()

    async def check() -> None:
        _check(connection)

    return Guest(GuestSql(connection.vendor, "pyformat", execute), check, lambda: _place(connection))


def _check(connection: Connection) -> None:
    connection.ensure_connection()
    if not connection.in_atomic_block and connection.get_autocommit():
        raise NotInTransaction(
            "publishing in autocommit mode, outside a transaction: the event could be lost, or lie about a write that "
            "failed. Write: with transaction.atomic(): your own writes, then publish(…)"
        )
    if connection.in_atomic_block and connection.needs_rollback:
        raise NotInTransaction(
            "this atomic block will be rolled back, because something in it has failed: nothing that is published now "
            "would be seen. Catch errors outside of an atomic block, not inside"
        )
    if connection.vendor == "sqlite":
        check_lock(connection.connection, _IMMEDIATE)


def _place(connection: Connection) -> str:
    settings = connection.settings_dict
    return f"{settings.get('HOST')}:{settings.get('PORT')}/{settings.get('NAME')}"
