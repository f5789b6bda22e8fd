"""Where a test's database is: a SQLite file (a path) or a PostgreSQL database (a URL), each made when first named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eventseam import Seams

if TYPE_CHECKING:
    from eventseam.testing.servers import PostgresServer

Place = Path | str
"""A file, or a URL."""


class Databases:
    """Databases of a server, named within one test as files are within a folder: `databases / "db"` is a URL."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._prefix = "test_" + Seams().ids.new().replace("-", "")
        self._urls: dict[str, str] = {}

    def __truediv__(self, name: str) -> str:
        if name not in self._urls:
            self._urls[name] = self._server.database(f"{self._prefix}_{name}")
        return self._urls[name]

    def drop(self) -> None:
        """Drop them all."""
        for name in self._urls:
            self._server.drop(f"{self._prefix}_{name}")


def url_of(place: Place) -> str:
    """The URL of a database."""
    return place if isinstance(place, str) else f"sqlite:///{place}"


def tables_for(place: Place, script: str) -> str:
    """A script of tables whose ids count by themselves, as the place's dialect says it."""
    return script.replace("id INTEGER PRIMARY KEY", "id BIGSERIAL PRIMARY KEY") if isinstance(place, str) else script
