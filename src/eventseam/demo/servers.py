"""The databases of a shop on a PostgreSQL server: made where that was asked for, and looked at before anything begins.

Refuses to write into what is not its own: another program's database, another app's, or a shop that is not resumed.
No message repeats a URL: it may hold a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from eventseam.errors import MissingExtraError, SettingsError, StorageError

if TYPE_CHECKING:
    from collections.abc import Collection

CONNECT_SECONDS = 10
CONNECTIONS_MIN = 200

TABLES = """
SELECT table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
"""


def driver() -> Any:  # noqa: ANN401 - a module
    """The module psycopg. Raises MissingExtraError."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError("a shop on PostgreSQL needs: pip install 'eventseam[postgresql]'") from error
    return psycopg


def check_url(url: str) -> None:
    """Raise SettingsError for a URL that cannot be read, before a driver does so and repeats its password."""
    driver()
    from eventseam.storage.postgres_url import address_of

    address_of(url)
    name_of(url)


def said(error: Exception) -> str:
    """What the server or the network says, in one line and without what may be secret."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def name_of(url: str) -> str:
    """The database that a URL names in its path. Raises SettingsError if it names none."""
    try:
        name = unquote(urlsplit(url).path.removeprefix("/"))
    except ValueError:  # says what it has read
        name = ""
    if not name or "/" in name:
        raise SettingsError("--database: the URL names no database. Write postgresql://USER:PASSWORD@HOST:PORT/NAME")
    return name


def beside(url: str, suffix: str) -> str:
    """The URL of the database beside this one on the same server: `shop` has `shop_orders` beside it."""
    return urlsplit(url)._replace(path="/" + quote(f"{name_of(url)}_{suffix}", safe="")).geturl()


def make_databases(url: str, wanted: Collection[str]) -> None:
    """Create those of the databases `wanted` (URLs on the server of `url`) that are not there.

    Raises SettingsError for a server that gives too few connections, StorageError if it refuses.
    """
    psycopg = driver()
    from psycopg import sql

    connections = int(_rows(url, "SHOW max_connections")[0][0])
    if connections < CONNECTIONS_MIN:
        raise SettingsError(
            f"--processes: the server allows {connections} connections, and seven processes may need "
            f"{CONNECTIONS_MIN}. Set max_connections = {CONNECTIONS_MIN}, or use --database postgresql:embedded"
        )
    there = {name for (name,) in _rows(url, "SELECT datname FROM pg_database")}
    for name in sorted(name_of(each) for each in wanted):
        if name in there:
            continue
        make = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name))
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
                connection.execute(make)
        except psycopg.Error as error:
            raise StorageError(f"--processes: {said(error)}. Create the database {name} first.") from error


def check_server(urls: Collection[str], *, resume: bool, was_begun: bool) -> None:
    """Raise SettingsError where beginning, or resuming, is not what was meant; StorageError for an unusable database.

    `was_begun`: whether there is an outside already. Changes nothing.
    """
    is_there = False
    for url in urls:
        tables = {name for (name,) in _rows(url, TABLES)}
        is_there = is_there or bool(tables)
        if tables and not tables & {"eventseam_migrations", "eventseam_journal"}:
            raise StorageError(
                f"--database: {name_of(url)} belongs to another program. Nothing was changed. Name another database."
            )
        if len(urls) == 1 and tables and "earned_sales" not in tables:
            raise StorageError(f"--database: {name_of(url)} belongs to another app than the demo. Name another one.")
        if tables and not resume:
            raise SettingsError(
                f"{name_of(url)} holds a shop already. Go on with it by --resume, or name another database."
            )
    if resume and not is_there and not was_begun:
        raise SettingsError("--resume: the database holds no shop to go on with. Leave --resume out.")


def check_bus(url: str, *, is_ours: bool) -> None:
    """Raise SettingsError or StorageError for a database in which services cannot meet. Changes nothing."""
    check_url(url)
    tables = {name for (name,) in _rows(url, TABLES)}
    if tables and not (is_ours and "eventseam_migrations" in tables):
        raise SettingsError(f"--transport: {name_of(url)} holds something already. Name an empty database.")


def _rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    psycopg = driver()
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            return list(connection.execute(statement).fetchall())
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"--database: {said(error)}") from error
    except psycopg.Error as error:
        raise StorageError(f"--database: {said(error)}") from error
