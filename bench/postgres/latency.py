"""Publish to handled at 1,000 messages a second: in one process, and from one process to another on one database.

From the moment at which a message was due, so that a publisher that falls behind counts as well, until its handler's
effects are committed. `python -m bench.postgres.latency URL TOGETHER COUNT` is the other process: it publishes.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from bench.measure import Case, Comparison, Variant
from eventseam import App, Channel, Ctx, Service, Settings
from eventseam.ports.probe import Applied, Observation, OwnershipChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.postgres.databases import Databases

RATE = 1_000
WARM_UP = 500
"""So many messages at the start are not counted: statements are prepared, pages are small."""
P50_MS, P99_MS = 10.0, 50.0
_START_SECONDS = 0.3
ping = Channel("ping", key="key")


@ping.event("pinged")
class Pinged(Struct, frozen=True):
    key: str
    due: float
    """A wall time: both processes are on one machine."""


@ping.event("ponged")
class Ponged(Struct, frozen=True):
    key: str


class Times:
    """What was handled is committed in the order in which the handler returned."""

    def __init__(self, expected: int) -> None:
        """Expect so many messages."""
        self.waiting: deque[float] = deque()
        self.milliseconds: list[float] = []
        self.done = asyncio.Event()
        self.expected = expected

    def observe(self, observation: Observation) -> None:
        """Note the time of a commit."""
        if not isinstance(observation, Applied):
            assert isinstance(observation, OwnershipChanged), observation
            return
        now = time.time()
        for _ in range(observation.handled):
            self.milliseconds.append((now - self.waiting.popleft()) * 1e3)
        if len(self.milliseconds) >= self.expected:
            self.done.set()

    def quantiles(self) -> tuple[float, float]:
        """The median and the 99th percentile."""
        found = sorted(self.milliseconds[WARM_UP:])
        return found[len(found) // 2], found[len(found) * 99 // 100]


class Once:
    """A run that finds several values: whichever variant is asked first in a round does it for all."""

    def __init__(self, run: Callable[[], tuple[float, float]]) -> None:
        """Do nothing yet."""
        self._run = run
        self._left: dict[int, float] = {}

    def value(self, number: int) -> float:
        """The value of this round."""
        if number not in self._left:
            self._left = dict(enumerate(self._run()))
        return self._left.pop(number)


def latency(seconds: float, databases: Databases) -> Case:
    """`seconds` of messages per round."""
    count = int(RATE * seconds) + WARM_UP
    variants: list[Variant] = []
    comparisons: list[Comparison] = []
    places = (("one process", True), ("two processes", False))
    for (place, both), together in itertools.product(places, (1, 10)):
        once = Once(lambda both=both, together=together: _measured(databases, count, together, both=both))
        for number, (quantile, most) in enumerate((("p50", P50_MS), ("p99", P99_MS))):
            name = f"{place}, {together} per transaction, {quantile}"
            variants.append(Variant(name, lambda once=once, number=number: once.value(number)))
            comparisons.append(Comparison(f"publish to handled at {RATE:,}/s, {name}", name, name, "value", must=most))
    title = f"Publish to handled at {RATE:,}/s on PostgreSQL"
    return Case("pg-latency", title, variants, comparisons, unit="ms")


def _measured(databases: Databases, count: int, together: int, *, both: bool) -> tuple[float, float]:
    url = databases.fresh(databases.filled(0, None))
    times = Times(count)
    asyncio.run(_handled(url, together, times, both=both))
    return times.quantiles()


async def _handled(url: str, together: int, times: Times, *, both: bool) -> None:
    count = times.expected
    app = App(*services(times), settings=Settings(database=url), probe=times)
    async with app.running(only=None if both else {"pongs"}):
        await asyncio.sleep(_START_SECONDS)  # let the engine take ownership: its start is not measured here
        if both:
            await publish(app, together, count)
        else:
            command = (sys.executable, "-m", "bench.postgres.latency", url, str(together), str(count))
            process = await asyncio.create_subprocess_exec(*command)
            assert await process.wait() == 0
        await asyncio.wait_for(times.done.wait(), 60)


def services(times: Times | None) -> tuple[Service[object], Service[object]]:
    """One that publishes, and one that handles: an inbox row and one more per message."""
    pings: Service[object] = Service("pings")
    pongs: Service[object] = Service("pongs", tables="CREATE TABLE IF NOT EXISTS pongs (key text PRIMARY KEY);")

    @pings.on(Ponged)
    async def rest(_: Ponged) -> None:
        """Nobody publishes it."""

    @pongs.on(Pinged)
    async def pong(event: Pinged, ctx: Ctx) -> None:
        ctx.write("INSERT INTO pongs (key) VALUES ($1)", event.key)
        if times is not None:
            times.waiting.append(event.due)

    return pings, pongs


async def publish(app: App, together: int, count: int) -> None:
    """Publish messages at their time, so many in a transaction, whether or not the last one is in."""
    began, service = time.time() + 0.01, app.services[0]
    async with asyncio.TaskGroup() as group:
        for first in range(0, count, together):
            due = began + first / RATE
            await asyncio.sleep(max(0.0, due - time.time()))
            events = [Pinged(f"key-{number:08d}", due) for number in range(first, first + together)]
            group.create_task(_publish(app, service, events))


async def _publish(app: App, service: Service[object], events: list[Pinged]) -> None:
    await app.publish(service, *events)


async def _other_process(url: str, together: int, count: int) -> None:
    app = App(*services(None), settings=Settings(database=url))
    async with app.running(only={"pings"}):
        await asyncio.sleep(_START_SECONDS)
        await publish(app, together, count)


if __name__ == "__main__":
    asyncio.run(_other_process(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
