"""Opens the database that a command reads. Looking changes nothing: no file is made, no schema is brought up to date.

Raises SettingsError without a URL or for one that cannot be used, StorageError for a file that is missing, is not
Eventseam's, or has another version's schema.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eventseam.app.settings import Settings
from eventseam.app.stores import open_store
from eventseam.clock import Seams
from eventseam.errors import SettingsError, StorageError, StorageUnavailable
from eventseam.storage.catalog import migrations
from eventseam.storage.postgres_home import home_of, obstacle
from eventseam.storage.sqlite import path_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine

    from eventseam.ports.sql import Operation, Sql, Store

T = TypeVar("T")

VARIABLE = "EVENTSEAM_DATABASE"

_STATEMENT_SECONDS_MAX = 600.0
"""A look at millions of rows may take as long as somebody waits for it."""


def database_of(args: argparse.Namespace) -> str:
    """The URL of `--database`, or of the environment. Raises SettingsError when there is neither.

    Where the environment is asked, it must hold no EVENTSEAM_* variable that is no setting: it may be this one.
    """
    if args.database:
        return str(args.database)
    Settings.from_env()
    url = os.environ.get(VARIABLE, "")
    if not url:
        raise SettingsError(f"no database is named. Give --database sqlite:///shop.db, or set {VARIABLE}.")
    return url


def read(url: str, operation: Operation[T]) -> T:
    """What `operation` reads, on one snapshot."""
    return use(url, lambda store: store.read(operation))


def write(url: str, operation: Operation[T]) -> T:
    """Run `operation` in one transaction and commit it."""
    return use(url, lambda store: store.write(operation))


def use(url: str, body: Callable[[Store], Coroutine[Any, Any, T]], *, any_cluster: bool = False) -> T:
    """Run `body` with the store of a database that has this version's schema, and close it."""

    async def checked(store: Store) -> T:
        await store.read(check_place(store.dialect))
        _check_version(await store.read(applied), store.dialect)
        return await body(store)

    return use_as_it_is(url, checked, any_cluster=any_cluster)


def use_as_it_is(
    url: str, body: Callable[[Store], Coroutine[Any, Any, T]], *, may_make: bool = False, any_cluster: bool = False
) -> T:
    """Run `body` with the store of a database, whatever is in it.

    `may_make` a file that is not there; `any_cluster` takes a journal that was written in another one, to rebase it.
    """

    async def run() -> T:
        store = _opened(url, any_cluster=any_cluster)
        try:
            if store.dialect == "sqlite" and not may_make:
                _check_file(url)
            return await body(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _opened(url: str, *, any_cluster: bool) -> Store:
    """The store of a URL, not opened yet."""
    store = open_store(Settings(database=url), Seams())
    if store.dialect == "sqlite":
        return store
    from eventseam.storage.postgres import PostgresOptions, PostgresStore

    patient = PostgresOptions(statement_seconds_max=_STATEMENT_SECONDS_MAX, checks_cluster=not any_cluster)
    return PostgresStore(url, Seams(), patient)


def _check_file(url: str) -> None:
    """Opening makes a missing file: look before. Raises StorageUnavailable."""
    path = path_of(url)
    if Path(path).is_dir():
        raise StorageUnavailable(
            f"'{path}' is a folder. Name the database file in it: sqlite:///{Path(path) / 'shop.db'}"
        )
    if not Path(path).is_file():
        raise StorageUnavailable(f"there is no database file {path}. Check the URL; the app makes it when it starts.")


async def applied(sql: Sql) -> frozenset[int]:
    """The numbers of the migrations that the database has; none if it is not Eventseam's."""
    if not (await sql.rows("has_migrations"))[0][0]:
        return frozenset()
    return frozenset(row[0] for row in await sql.rows("applied_migrations"))


def check_place(dialect: str) -> Operation[None]:
    """The operation that raises StorageError where other tables than the journal's would be read."""

    async def check(sql: Sql) -> None:
        if dialect == "postgresql" and (wrong := await obstacle(sql, await home_of(sql))) is not None:
            raise wrong.error()

    return check


def _check_version(has: frozenset[int], dialect: str) -> None:
    known = frozenset(migration.number for migration in migrations(dialect))
    if not has:
        raise StorageError(
            "the database holds no Eventseam tables. Check the URL, or start the app once: it makes them."
        )
    if has - known:
        raise StorageError(
            f"the database has migration {max(has)}, this version of Eventseam knows {max(known)}. "
            "Use the version that the app runs with."
        )
    if known - has:
        raise StorageError(
            f"the database has migration {max(has)}, this version of Eventseam needs {max(known)}. "
            "Bring it up to date with: eventseam db migrate (the app does so as well when it starts)."
        )
