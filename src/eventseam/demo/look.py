"""Looking into the services' databases from outside, as an auditor does: plain SQL, nothing of the engine.

The SQL is portable; arguments are $1, $2, … on either kind of database.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from eventseam.demo.servers import driver, said
from eventseam.errors import StorageUnavailable
from eventseam.storage.sqlite import path_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from eventseam.demo.where import Where

BUSY_SECONDS = 5
CONNECT_SECONDS = 2


class Look(Protocol):
    """One database, read only."""

    def execute(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """All rows of one statement, as they are committed now. Raises StorageUnavailable, or the driver's error."""
        ...

    def close(self) -> None:
        """Close the connection. Idempotent."""
        ...


class FileLook:
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open it; it must be there."""
        address = f"{path.absolute().as_uri()}?mode=ro"
        self._file = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)

    def execute(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """See Look."""
        return self._file.execute(sql.replace("$", "?"), args).fetchall()

    def close(self) -> None:
        """See Look."""
        self._file.close()


class ServerLook:
    """A PostgreSQL database. A connection that is gone is opened again by the next look."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._url = url
        self._cursor: Any = None

    def execute(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """See Look."""
        psycopg = driver()
        try:
            if self._cursor is None:
                options = {"autocommit": True, "connect_timeout": CONNECT_SECONDS}
                connection = psycopg.connect(self._url, **options, options="-c default_transaction_read_only=on")
                self._cursor = psycopg.RawCursor(connection)
            return list(self._cursor.execute(sql, args or None).fetchall())
        except psycopg.OperationalError as error:
            self.close()
            raise StorageUnavailable(f"the shop's database: {said(error)}") from error

    def close(self) -> None:
        """See Look."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(driver().Error):
                cursor.connection.close()


class Looks:
    """All databases of a shop: one for all services, or one for each; and the bus, if that is a database too."""

    def __init__(self, of: Mapping[str, Look], bus: Look | None = None) -> None:
        """Look at the database of each service through `of`."""
        self.of = of
        self.bus = bus

    @property
    def services(self) -> list[Look]:
        """The services' databases, each once."""
        return list(dict.fromkeys(self.of.values()))

    @property
    def is_spread(self) -> bool:
        """Whether each service has a database of its own."""
        return len(self.services) > 1

    def count(self, sql: str) -> int:
        """The sum over the services' databases of a statement that counts."""
        return sum(each.execute(sql)[0][0] for each in self.services)


@contextmanager
def looking_at(where: Where) -> Generator[Looks]:
    """Looks into every database of a shop, which are closed at the end."""
    by_url = {url: look_at(url) for url in where.urls}
    try:
        yield Looks(
            {service: by_url[url] for service, url in where.databases.items()}, by_url[where.bus] if where.bus else None
        )
    finally:
        _close(by_url.values())


def look_at(url: str) -> Look:
    """A look into the database of a URL."""
    from pathlib import Path

    return FileLook(Path(path_of(url))) if url.startswith("sqlite:") else ServerLook(url)


def _close(looks: Iterable[Look]) -> None:
    for look in looks:
        look.close()
