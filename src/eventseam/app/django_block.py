"""`with tx.django():`: Django's ORM inside the transaction of a `def` handler, on the engine's own connection.

Inside the block, and in its thread only, `connections[alias]` is a wrapper that believes itself inside an atomic block:
it neither begins nor commits, and `transaction.atomic()` makes savepoints. Refused: a database other than the app's,
and on_commit hooks (publish an event instead: it is never lost).
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from eventseam.app.lent import LentConnection, PerConnection, check_whole, own_cursor, raw_of, step_of
from eventseam.errors import EventseamError, MissingExtraError, WiringError

if TYPE_CHECKING:
    from collections.abc import Generator

    from eventseam.ports.sql import Sql

_WHICH_SERVER = "SELECT current_database(), pg_postmaster_start_time()::text"


class DjangoBlocks:
    """Django on the connections of one store. Usable from every thread."""

    def __init__(self, dialect: str) -> None:
        """Look at nothing yet."""
        self._dialect = dialect
        self._lent = PerConnection(_lent_sqlite if dialect == "sqlite" else _lent_psycopg)
        self._checked: set[str] = set()

    @contextmanager
    def block(self, sql: Sql, alias: str) -> Generator[None]:
        """Lend the connection under `sql` to Django's `alias`. Raises WiringError or MissingExtraError.

        At its end raises EventseamError if Django wanted to roll back.
        """
        connections = _connections()
        lent = self._lent.of(raw_of(sql, "tx.django()"))
        wrapper = _wrapper(connections, alias)
        lent.lend(step_of(sql))
        try:
            if alias not in self._checked:
                self._check(connections, alias, wrapper, lent)
                self._checked.add(alias)
            _begin(wrapper, lent)
            before = getattr(connections._connections, alias, None)  # noqa: SLF001 - [alias] would make one
            connections[alias] = wrapper
            try:
                yield
            finally:
                wrapper.connection = None
                if before is None:
                    del connections[alias]
                else:
                    connections[alias] = before
            check_whole(rolled_back=wrapper.needs_rollback or lent.rolled_back)
        finally:
            lent.take_back()

    def _check(self, connections: Any, alias: str, wrapper: Any, lent: LentConnection) -> None:  # noqa: ANN401 - Django is optional
        """Raise WiringError if Django's alias is another database than the app's."""
        if wrapper.vendor != self._dialect:
            ours, theirs = f"a {self._dialect} database", f"a {wrapper.vendor} database"
        elif self._dialect == "sqlite":
            ours, theirs = lent.run(lambda: _file_of(lent)), _file_in(wrapper)
        else:
            ours, theirs = _server_of(lent), _server_in(connections, alias)
        if ours != theirs:
            raise WiringError(
                f"the app's database is {ours}, but DATABASES[{alias!r}] of Django is {theirs}: one transaction cannot "
                "span both. Point EVENTSEAM_DATABASE and Django to one database, or name its alias: tx.django('…')."
            )


def _begin(wrapper: Any, lent: LentConnection) -> None:  # noqa: ANN401 - Django is optional
    """Make a wrapper believe that it is inside an atomic block of `lent`."""
    from django.db.transaction import Atomic

    wrapper.connection = lent
    wrapper.autocommit = False
    wrapper.in_atomic_block = True
    wrapper.atomic_blocks.append(Atomic(wrapper.alias, savepoint=True, durable=False))
    wrapper.on_commit = _refuse_hook
    wrapper.chunked_cursor = wrapper.cursor  # all rows at once, under the lender's lock
    if wrapper.vendor == "postgresql" and wrapper.timezone_name != lent.info.parameter_status("TimeZone"):
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT set_config('TimeZone', %s, true)", [wrapper.timezone_name])


def _refuse_hook(_function: object, robust: object = False) -> NoReturn:  # noqa: ARG001, FBT002 - Django's
    raise EventseamError(
        "transaction.on_commit() in a handler would be lost if the process died after the commit. Publish an event: "
        "tx.publish(…), and do it in the handler of that event."
    )


def _connections() -> Any:  # noqa: ANN401 - Django is optional
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.db import connections
    except ImportError as error:
        raise MissingExtraError("tx.django() needs Django: pip install 'eventseam[django]'") from error
    try:
        _ = connections.settings
    except ImproperlyConfigured as error:
        raise WiringError(
            "tx.django(): Django has no settings in this process. Set DJANGO_SETTINGS_MODULE, and call django.setup() "
            "in the module that makes the app."
        ) from error
    return connections


def _wrapper(connections: Any, alias: str) -> Any:  # noqa: ANN401 - as above
    """A wrapper of our own: the thread's own one is not touched."""
    if alias not in connections.settings:
        known = ", ".join(sorted(connections.settings))
        raise WiringError(f"tx.django({alias!r}): Django's DATABASES has no such alias. It has: {known}.")
    return connections.create_connection(alias)


def _lent_sqlite(raw: Any) -> LentConnection:  # noqa: ANN401 - the driver's
    from django.db.backends.sqlite3 import base

    functions: Any = base
    functions.register_functions(raw)
    return LentConnection(raw, own_cursor)


class _Adapting:
    """A psycopg connection with Django's adapters, which are not the engine's."""

    def __init__(self, raw: Any, adapters: Any) -> None:  # noqa: ANN401 - psycopg is optional
        self._raw = raw
        self.adapters = adapters

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - psycopg's
        return getattr(self._raw, name)


def _lent_psycopg(raw: Any) -> LentConnection:  # noqa: ANN401 - psycopg is optional
    from django.conf import settings
    from django.db.backends.postgresql.base import Cursor
    from django.db.backends.postgresql.psycopg_any import get_adapters_template
    from django.utils import timezone
    from psycopg.adapt import AdaptersMap
    from psycopg.rows import tuple_row

    zone = timezone.get_default_timezone() if not settings.USE_TZ else timezone.get_fixed_timezone(0)
    factory: Any = Cursor
    adapting = _Adapting(raw, AdaptersMap(get_adapters_template(settings.USE_TZ, zone)))

    def make_cursor(connection: Any) -> Any:  # noqa: ANN401 - psycopg's
        return factory(connection, row_factory=tuple_row)

    return LentConnection(adapting, make_cursor)


def _file_of(lent: LentConnection) -> str:
    return str(Path(lent.execute("PRAGMA database_list").fetchone()[2]).resolve())


def _file_in(wrapper: Any) -> str:  # noqa: ANN401 - Django is optional
    name = str(wrapper.settings_dict["NAME"])
    return name if wrapper.is_in_memory_db() else str(Path(name.removeprefix("file:").partition("?")[0]).resolve())


def _server_of(lent: LentConnection) -> str:
    with_rows = lent.cursor()
    with_rows.execute(_WHICH_SERVER)
    return "{} of the server started at {}".format(*with_rows.fetchone())


def _server_in(connections: Any, alias: str) -> str:  # noqa: ANN401 - as above
    """Ask on a connection of Django's own, once per process."""
    own = connections.create_connection(alias)
    try:
        with own.cursor() as cursor:
            cursor.execute(_WHICH_SERVER)
            return "{} of the server started at {}".format(*cursor.fetchone())
    finally:
        own.close()
