"""Real servers for tests and demos: started on a free loopback port in under a second, gone when their starter is.

`with postgres() as server:` starts one of our own; `server_for_tests()` also follows the environment:

- `EVENTSEAM_TEST_POSTGRESQL`: the URL of a server that is there, or `testcontainers[:IMAGE]`.
- `EVENTSEAM_TEST_POSTGRESQL_VERSION`: which one to start (default: 18 of the pip package, else this machine's newest).
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import quote, urlsplit

from eventseam.errors import MissingExtraError, SettingsError, StorageError
from eventseam.testing.binaries import find
from eventseam.testing.cluster import OWNER, Cluster
from eventseam.testing.guarding import HOST

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

URL_VARIABLE = "EVENTSEAM_TEST_POSTGRESQL"
VERSION_VARIABLE = "EVENTSEAM_TEST_POSTGRESQL_VERSION"
CONTAINER = "testcontainers"
_DEFAULT_IMAGE = "postgres:18"


class PostgresServer:
    """A server reached by a URL whose user may create databases."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self.url = url

    @property
    def version(self) -> int:
        """The major version, as 18."""
        return int(self._ask("SHOW server_version_num")) // 10_000

    def url_of(self, name: str) -> str:
        """The URL of a database of this server."""
        return urlsplit(self.url)._replace(path="/" + quote(name, safe="")).geturl()

    def database(self, name: str, template: str = "template0") -> str:
        """Create a database and return its URL; `template` is one to copy, with nobody connected to it (40 ms).

        Raises StorageError if there is one of that name: nothing of yours is ever dropped unasked.
        """
        self._ask("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url_of(name)

    def drop(self, name: str) -> None:
        """Drop a database, if there is one, and cut off whoever is connected to it."""
        self._ask("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _ask(self, statement: LiteralString, *names: str) -> Any:  # noqa: ANN401 - one value of whatever type
        """Run one statement with names in it. Raises StorageError with what the server says."""
        psycopg = _driver()
        from psycopg import sql

        text = sql.SQL(statement).format(*(sql.Identifier(name) for name in names))
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
                cursor = connection.execute(text)
                row = cursor.fetchone() if cursor.description else None
        except psycopg.Error as error:
            raise StorageError(f"PostgreSQL for tests: {str(error).strip()}") from error
        return row[0] if row else None


class StartedPostgres(PostgresServer):
    """A server of our own, which can be stopped, killed and started again on the same port with the same data."""

    def __init__(self, cluster: Cluster) -> None:
        """Take a cluster that has been started."""
        super().__init__(f"postgresql://{OWNER}:{cluster.password}@{HOST}:{cluster.port}/postgres")
        self._cluster = cluster

    @property
    def pid(self) -> int:
        """Of the server's first process, for signals. Raises StorageUnavailable while it is stopped."""
        return self._cluster.pid

    @property
    def port(self) -> int:
        """On the loopback address; it stays the same over every restart."""
        return self._cluster.port

    @property
    def data(self) -> Path:
        """The data folder."""
        return self._cluster.data

    @property
    def binaries(self) -> Path:
        """The folder with `psql`, `pg_dump`, `pg_basebackup` and the rest of the same version."""
        return self._cluster.binaries.folder

    def log(self) -> str:
        """All that the server has logged."""
        return self._cluster.log_file.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start again after `stop` or `kill`. Raises StorageUnavailable with the end of the log."""
        self._cluster.start()

    def stop(self, *, immediate: bool = False) -> None:
        """Cut all connections and stop; `immediate` stops as a crash does, and the next start recovers."""
        self._cluster.stop(signal.SIGQUIT if immediate else signal.SIGINT)

    def kill(self) -> None:
        """Kill -9 the first process; its children see that and end. The next start recovers."""
        self._cluster.stop(signal.SIGKILL)

    def restart(self, *, immediate: bool = True) -> None:
        """Stop and start. Returns when the server accepts connections again."""
        self.stop(immediate=immediate)
        self.start()


@contextmanager
def postgres(
    *,
    settings: Mapping[str, str | int] | None = None,
    version: int | None = None,
    folder: Path | None = None,
    binaries: Path | None = None,
) -> Generator[StartedPostgres]:
    """Start a PostgreSQL server, and stop it at the end, also if this process is killed.

    `settings` go to postgresql.conf (`{"wal_level": "logical"}`; `fsync` is on unless you say `{"fsync": "off"}`);
    `folder` keeps the data for the next time (default: a temporary one); `binaries` is where `postgres` and `initdb`
    are (default: see the module). Raises MissingExtraError without a server to start, StorageUnavailable if it fails.
    """
    _driver()
    cluster = Cluster(find(version, binaries), settings or {}, folder)
    try:
        cluster.start()
        yield StartedPostgres(cluster)
    finally:
        cluster.close()


@contextmanager
def embedded(name: str = "eventseam") -> Generator[str]:
    """The URL of a new database `name` on a server started for it: what `postgresql:embedded` means.

    Raises what `postgres` raises.
    """
    with postgres() as server:
        yield server.database(name)


@contextmanager
def server_for_tests() -> Generator[PostgresServer]:
    """The server that the environment asks for, or one of our own.

    Raises SettingsError for variables that make no sense, and what `postgres` raises.
    """
    wish = os.environ.get(URL_VARIABLE, "")
    if wish.partition(":")[0] == CONTAINER:
        with _contained(wish.partition(":")[2] or _DEFAULT_IMAGE) as server:
            yield server
    elif wish:
        yield PostgresServer(_checked(wish))
    else:
        with postgres(version=_wished_version()) as server:
            yield server


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise SettingsError(f"{URL_VARIABLE} must be postgresql://USER:PASSWORD@HOST/DATABASE or {CONTAINER}[:IMAGE]")
    return url


def _wished_version() -> int | None:
    text = os.environ.get(VERSION_VARIABLE, "")
    if text and not text.isdecimal():
        raise SettingsError(f"{VERSION_VARIABLE} must be a major version such as 18, not {text!r}")
    return int(text) if text else None


@contextmanager
def _contained(image: str) -> Generator[PostgresServer]:
    """A server in a container, by the user's own testcontainers."""
    try:
        import testcontainers.postgres as found  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(f"{URL_VARIABLE}={CONTAINER} needs: pip install 'testcontainers[postgres]'") from error
    containers: Any = found
    with containers.PostgresContainer(image, driver=None) as container:
        yield PostgresServer(container.get_connection_url())


def _driver() -> Any:  # noqa: ANN401 - a module
    """The module psycopg. Raises MissingExtraError."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError("PostgreSQL for tests needs psycopg: pip install 'eventseam[servers]'") from error
    return psycopg
