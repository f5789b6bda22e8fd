"""From the options to the place of a shop: a temporary file, a file, a database on a server, or a server of our own.

Looks at everything before anything begins, and leaves nothing temporary behind.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eventseam.demo.files import check_database, check_outside
from eventseam.demo.meeting import opened_transport
from eventseam.demo.servers import CONNECTIONS_MIN, beside, check_server, check_url, make_databases, name_of
from eventseam.demo.where import NAMES, Where, outside_of
from eventseam.errors import SettingsError
from eventseam.storage.sqlite import path_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from eventseam.demo.options import Options

EMBEDDED = "postgresql:embedded"


@contextmanager
def opened_place(options: Options) -> Generator[Where]:
    """Where the shop is, for the time of the block.

    Raises SettingsError or StorageError for a place that cannot be used, MissingExtraError without a driver.
    """
    with _opened_databases(options) as where, opened_transport(options.transport, where.outside) as transport:
        yield replace(where, transport=transport) if transport else where


@contextmanager
def _opened_databases(options: Options) -> Generator[Where]:
    url = options.database
    if options.processes and (url is None or url.startswith("sqlite:")):
        raise SettingsError(f"--processes needs PostgreSQL: give --database postgresql://…, or --database {EMBEDDED}")
    if url is None or url == EMBEDDED:
        if options.resume:
            raise SettingsError("--resume needs the --database of the run that was killed.")
        with (
            tempfile.TemporaryDirectory(prefix="eventseam-demo-") as folder,
            _temporary(options, Path(folder)) as where,
        ):
            yield where
    elif url.startswith(("postgresql:", "postgres:")):
        check_url(url)
        yield _on_server(options, url)
    elif not url.startswith("sqlite:"):
        raise SettingsError(f"--database: write sqlite:///FILE, postgresql://USER@HOST/NAME or {EMBEDDED}")
    else:
        yield _in_file(options, Path(path_of(url)))


@contextmanager
def _temporary(options: Options, folder: Path) -> Generator[Where]:
    """A shop that is gone afterwards."""
    outside = options.outside or folder / "shop.db-outside"
    check_outside(outside, resume=False)
    if options.database is None:
        yield Where.in_one(f"sqlite:///{folder / 'shop.db'}", outside)
        return
    from eventseam.testing.servers import postgres

    with postgres(settings={"max_connections": CONNECTIONS_MIN}) as server:
        yield (
            _spread(options, server.database("shop"), outside)
            if options.processes
            else Where.in_one(server.database("shop"), outside)
        )


def _in_file(options: Options, path: Path) -> Where:
    outside = options.outside or outside_of(path)
    check_database(path, outside, resume=options.resume)
    return Where.in_one(f"sqlite:///{path}", outside)


def _on_server(options: Options, url: str) -> Where:
    """The database of the URL, or those beside it; the outside is in the current folder, named like the database."""
    outside = options.outside or Path(f"{name_of(url)}-outside")
    was_begun = check_outside(outside, resume=options.resume)
    where = _spread(options, url, outside) if options.processes else Where.in_one(url, outside)
    check_server(where.urls, resume=options.resume, was_begun=was_begun)
    outside.touch()  # from here on there is something to resume, however early a kill comes
    return where


def _spread(options: Options, url: str, outside: Path) -> Where:
    """A database for each service, and one for the bus unless there is a transport: all beside that of the URL.

    They are made if they are not there.
    """
    bus = None if options.transport else beside(url, "bus")
    where = Where(outside, {service: beside(url, service) for service in NAMES}, bus)
    make_databases(url, where.urls)
    return where
