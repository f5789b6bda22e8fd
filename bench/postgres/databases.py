"""One PostgreSQL server for a run, and databases on it: every measured round gets a fresh copy of a filled one."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.postgres import raw
from bench.postgres.services import recorded
from eventseam import App, Settings
from eventseam.testing.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Generator

    from eventseam.testing.servers import StartedPostgres

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "60min",  # a checkpoint in the middle of a round would hit one variant only
    "log_min_messages": "error",  # a deadlock is one
}
"""`fsync`, `synchronous_commit` and `full_page_writes` stay on: what is measured is durable."""


class Databases:
    """Databases of one server, made by name and dropped when the next one is made."""

    def __init__(self, server: StartedPostgres) -> None:
        """Make nothing yet."""
        self.server = server
        self._filled: dict[str, str] = {}
        self._made = 0

    def filled(self, count: int, keys: int | None) -> str:
        """The name of a database whose journal holds `count` orders that nobody has handled. Made once."""
        name = f"filled_{count}_{keys or 'distinct'}"
        if name not in self._filled:
            url = self.server.database(name)
            asyncio.run(_fill(url, count, keys))
            self._filled[name] = url
        return name

    def fresh(self, template: str) -> str:
        """The URL of a new copy of a database. The last copy is dropped, and nothing is left to be written back."""
        self.server.drop(f"round_{self._made}")
        self._made += 1
        url = self.server.database(f"round_{self._made}", template)
        raw.settle(self.server.url)
        return url

    def copy(self, template: str, name: str) -> str:
        """The URL of a copy that stays."""
        return self.server.database(name, template)

    def version(self) -> str:
        """As 18.4."""
        return raw.setting(self.server.url, "server_version")

    def deadlocks(self) -> int:
        """How many deadlocks the server's log tells of."""
        return self.server.log().count("deadlock detected")


@contextmanager
def databases() -> Generator[Databases]:
    """A server of our own, for the time of a run."""
    with postgres(settings=SETTINGS) as server:
        yield Databases(server)


async def _fill(url: str, count: int, keys: int | None) -> None:
    async with App(recorded("sql"), settings=Settings(database=url)).running():
        pass
    floor = await raw.Floor.open(url)
    await floor.append(0, count, keys)
    await floor.tidy()
    await floor.close()
