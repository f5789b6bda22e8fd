"""Opens the database that a command reads. Looking changes nothing: no file is made, no schema is brought up to date.

Raises SettingsError without a URL or for one that cannot be used, StorageError for a file that is missing, is not
Eventseam's, or has another version's schema.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from eventseam.app.settings import Settings
from eventseam.app.stores import open_store
from eventseam.clock import Seams
from eventseam.errors import SettingsError, StorageError, StorageUnavailable
from eventseam.storage.catalog import migrations
from eventseam.storage.sqlite import path_of

if TYPE_CHECKING:
    import argparse

    from eventseam.ports.sql import Operation, Sql

T = TypeVar("T")

VARIABLE = "EVENTSEAM_DATABASE"


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
    return asyncio.run(_with_store(url, operation, writes=False))


def write(url: str, operation: Operation[T]) -> T:
    """Run `operation` in one transaction and commit it."""
    return asyncio.run(_with_store(url, operation, writes=True))


async def _with_store(url: str, operation: Operation[T], *, writes: bool) -> T:
    store = open_store(Settings(database=url), Seams())
    _check_file(url)
    try:
        _check_version(await store.read(_applied))
        return await (store.write(operation) if writes else store.read(operation))
    finally:
        await store.close()


def _check_file(url: str) -> None:
    """Opening makes a missing file: look before. Raises StorageUnavailable."""
    path = path_of(url)
    if Path(path).is_dir():
        raise StorageUnavailable(
            f"'{path}' is a folder. Name the database file in it: sqlite:///{Path(path) / 'shop.db'}"
        )
    if not Path(path).is_file():
        raise StorageUnavailable(f"there is no database file {path}. Check the URL; the app makes it when it starts.")


async def _applied(sql: Sql) -> frozenset[int]:
    """The numbers of the migrations that the database has; none if it is not Eventseam's."""
    if not await sql.rows("SELECT 1 FROM sqlite_master WHERE name = $1", "eventseam_migrations"):
        return frozenset()
    return frozenset(row[0] for row in await sql.rows("applied_migrations"))


def _check_version(applied: frozenset[int]) -> None:
    known = frozenset(migration.number for migration in migrations("sqlite"))
    if not applied:
        raise StorageError(
            "the database holds no Eventseam tables. Check the URL, or start the app once: it makes them."
        )
    if applied - known:
        raise StorageError(
            f"the database has migration {max(applied)}, this version of Eventseam knows {max(known)}. "
            "Use the version that the app runs with."
        )
    if known - applied:
        raise StorageError(
            f"the database has migration {max(applied)}, this version of Eventseam needs {max(known)}. "
            "Start the app with this version once: it brings the database up to date."
        )
