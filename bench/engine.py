"""The engine on SQLite, as the cases run it: with everything on, told by a probe when all is committed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.contracts import placed, receipts_service
from eventseam import App, Settings
from eventseam.ports.probe import Applied, Observation, OwnershipChanged

if TYPE_CHECKING:
    from pathlib import Path

PUBLISH_BATCH = 500


class Finish:
    """A probe that counts what is handled and notes when all of it is. Any failure ends the benchmark."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.ended = 0.0
        self.done = asyncio.Event()

    def observe(self, observation: Observation) -> None:
        """Count what an apply has handled."""
        if isinstance(observation, Applied) and not observation.duplicates and not observation.retrying:
            self.left -= observation.handled
            if self.left <= 0:
                self.ended = time.perf_counter()
                self.done.set()
        elif not isinstance(observation, OwnershipChanged):
            raise AssertionError(observation)


def app_on(path: Path, durability: str, probe: Finish | None = None) -> App:
    """The service of the cases over one file."""
    settings = Settings(database=f"sqlite:///{path}", durability=durability)  # type: ignore[arg-type]
    return App(receipts_service(), settings=settings, probe=probe)


async def migrate(path: Path) -> None:
    """Make the tables, and nothing else."""
    async with app_on(path, "normal").running():
        pass


async def consume(path: Path, durability: str, expected: int) -> float:
    """Seconds from the engine's first step to the commit of the last of the messages in the journal."""
    probe = Finish(expected)
    async with app_on(path, durability, probe).running():
        began = time.perf_counter()
        await probe.done.wait()
    return probe.ended - began


async def publish(path: Path, durability: str, expected: int) -> float:
    """Seconds from the first publish to the commit of the last message's effects. Publishing and handling overlap."""
    probe = Finish(expected)
    app = app_on(path, durability, probe)
    async with app.running():
        await asyncio.sleep(0.05)  # let the engine take ownership: its start is not measured here
        began = time.perf_counter()
        for first in range(0, expected, PUBLISH_BATCH):
            events = [placed(number, None) for number in range(first, min(expected, first + PUBLISH_BATCH))]
            await app.publish(app.services[0], *events)
        await probe.done.wait()
    return probe.ended - began


async def one_by_one(path: Path, durability: str, expected: int) -> float:
    """Seconds of `expected` events in a row: each is published when the effects of the last one are committed."""
    probe = Finish(1)
    app = app_on(path, durability, probe)
    async with app.running():
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        for number in range(expected):
            probe.left = 1
            probe.done.clear()
            await app.publish(app.services[0], placed(number, None))
            await probe.done.wait()
        return time.perf_counter() - began
