"""A reader for the chaos, which kills itself: `python -m tests.tail.reading URL NAME OWNER LIMIT SHARE SEED`."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time

from eventseam import Seams
from eventseam.errors import CursorLost, Fenced, OutcomeUnknown, StorageUnavailable
from eventseam.storage.postgres import PostgresStore
from tests.tail.rig import Reader

DEADLY = 0.002
LEASE_SECONDS = 1.0


class Death:
    """Kill -9 at any named point, now and then."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def at(self, point: str) -> None:
        if self._chance.random() < DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Reader):
    """A reader that may also die between reading and applying, and after writing."""

    lease_seconds = LEASE_SECONDS
    death: Death

    async def between(self) -> None:
        self.death.at("fetched")

    async def put(self, sql, moves, messages) -> None:
        await super().put(sql, moves, messages)
        self.death.at("effects")


async def serve(reader: Mortal, limit: int, chance: random.Random) -> None:
    """Read as long as there is who has started us; load the cursors again whenever that is called for."""
    parent = os.getppid()
    while parent == os.getppid():
        try:
            await reader.load()
            await _read_on(reader, limit, chance)
        except (CursorLost, Fenced, StorageUnavailable, OutcomeUnknown):
            await asyncio.sleep(0.05)


async def _read_on(reader: Mortal, limit: int, chance: random.Random) -> None:
    renewed, parent = time.monotonic(), os.getppid()
    while parent == os.getppid():
        if time.monotonic() > renewed + LEASE_SECONDS / 3:
            await reader.stay()
            renewed = time.monotonic()
        most = chance.randrange(1, 1 + limit) if chance.random() < 0.2 else None
        if not reader.at or not await reader.step(limit, most=most):
            await asyncio.sleep(0.005)


def main(arguments: list[str]) -> None:
    url, name, owner, limit, share, seed = arguments
    chance = random.Random(int(seed))
    death = Death(chance)
    reader = Mortal(PostgresStore(url, Seams(points=death)), name, int(share), owner)
    reader.death = death
    asyncio.run(serve(reader, int(limit), chance))


if __name__ == "__main__":
    main(sys.argv[1:])
