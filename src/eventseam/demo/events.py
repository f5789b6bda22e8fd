"""The event-driven shop in this process: customers call `place`, the engine does the rest in its own time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

from eventseam.clock import Clock, SystemClock
from eventseam.demo.app import create
from eventseam.demo.data import DataError
from eventseam.demo.shop.orders.service import place
from eventseam.errors import EventseamError
from eventseam.ports.probe import Applied, HandlerFailed, Observation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from eventseam import App
    from eventseam.demo.board import Counts
    from eventseam.demo.shop.orders.contracts import PlaceOrder

CUSTOMERS = 64
LOOK_SECONDS = 0.05
SETTLE_SECONDS_MAX = 300.0


class Tally:
    """What the engine tells about itself, as far as no table keeps it. A Probe."""

    def __init__(self) -> None:
        """Nothing happened yet."""
        self.retries = 0
        self.duplicates = 0

    def observe(self, observation: Observation) -> None:
        """Count failed attempts, and copies that the inbox absorbed."""
        if isinstance(observation, HandlerFailed):
            self.retries += 1
        elif isinstance(observation, Applied):
            self.duplicates += observation.duplicates


class EventsSide:
    """The running app. `run` offers all orders and waits for their outcomes; `counts` follow it."""

    def __init__(self, app: App, shop: sqlite3.Connection, counts: Counts) -> None:
        """Offer to `app`, and look into its database through `shop`."""
        self._app = app
        self._shop = shop
        self._counts = counts
        self._clock: Clock = SystemClock()

    async def run(self, orders: Sequence[PlaceOrder], rate: float) -> None:
        """Offer the orders that are not accepted yet, in their order, and wait until all is decided and quiet.

        Raises DataError if orders were accepted that are none of these.
        """
        there = {order_id for (order_id,) in self._shop.execute("SELECT order_id FROM orders")}
        if strangers := there - {order.order_id for order in orders}:
            raise DataError(
                f"the database holds {len(strangers)} other orders. Resume with the orders it was begun with."
            )
        left = [order for order in orders if order.order_id not in there]
        line = iter([(self._clock.monotonic() + n / rate, order) for n, order in enumerate(left)])
        await asyncio.gather(*(self._customer(line) for _ in range(CUSTOMERS)))
        await self._settle()

    def look(self) -> None:
        """Bring the counts up to date from the orders' own table."""
        found = Counter(dict(self._shop.execute("SELECT status, count(*) FROM orders GROUP BY status").fetchall()))
        counts = self._counts
        counts.accepted = found.total()
        counts.confirmed = found["confirmed"]
        counts.items_unavailable = found["items unavailable"]
        counts.payment_failed = found["payment failed"]

    async def _customer(self, line: Iterator[tuple[float, PlaceOrder]]) -> None:
        """Take the next order of the line, place it at its time, wait for the answer; and again."""
        for due, order in line:
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            try:
                await self._app.call(place, order)
            except EventseamError:
                self._counts.failed += 1

    async def _settle(self) -> None:
        """Wait until every accepted order is decided and every event handled, at most SETTLE_SECONDS_MAX."""
        deadline = self._clock.monotonic() + SETTLE_SECONDS_MAX
        self.look()
        while self._counts.undecided and self._clock.monotonic() < deadline:
            await self._clock.sleep(LOOK_SECONDS)
            self.look()
        with suppress(TimeoutError):  # what is still pending then, the report says
            await self._app.wait_idle(timeout_seconds=max(1.0, deadline - self._clock.monotonic()))


@asynccontextmanager
async def events_side(database: Path, tally: Tally, counts: Counts) -> AsyncGenerator[EventsSide]:
    """The app on the environment's database, which is the file `database`: started, and in the end stopped."""
    app = create(tally)
    async with app.running():
        with closing(looking_at(database)) as shop:
            side = EventsSide(app, shop, counts)
            side.look()
            yield side


def looking_at(database: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)
