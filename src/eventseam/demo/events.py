"""The event-driven shop: customers call `place` in this process, the engine does the rest in its own time.

The engine runs here too, or with a process and a database for each service: then only orders runs here as well.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from eventseam.clock import Clock, SystemClock
from eventseam.demo.app import create
from eventseam.demo.audit import TRACES, audit
from eventseam.demo.data import DataError
from eventseam.demo.look import Looks, looking_at
from eventseam.demo.meeting import broker_at, is_read
from eventseam.demo.report import pending
from eventseam.demo.shop.orders.service import place
from eventseam.errors import EventseamError, StorageError, StorageUnavailable
from eventseam.ports.probe import Applied, HandlerFailed, Observation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from eventseam import App
    from eventseam.demo.board import Counts
    from eventseam.demo.outside import Outside
    from eventseam.demo.shop.orders.contracts import PlaceOrder
    from eventseam.demo.where import Where
    from eventseam.ports.transport import Broker

CUSTOMERS = 64
LOOK_SECONDS = 0.05
SETTLE_SECONDS_MAX = 300.0
AUDIT_SECONDS = 0.5
PATIENCE_SECONDS_MAX = 60.0
ASK_AGAIN_SECONDS = 0.25

BUILT = "SELECT 1 FROM information_schema.tables WHERE table_name = $1"


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

    def __init__(self, app: App, shop: Looks, broker: Broker | None, outside: Outside, counts: Counts) -> None:
        """Offer to `app`, and look into the databases through `shop`; and into the `broker`, if services meet there."""
        self._app = app
        self._shop = shop
        self._broker = broker
        self._outside = outside
        self._counts = counts
        self._clock: Clock = SystemClock()

    async def run(self, orders: Sequence[PlaceOrder], rate: float) -> None:
        """Offer the orders that are not accepted yet, in their order, and wait until all is decided and quiet.

        Raises DataError if orders were accepted that are none of these.
        """
        await self.ready()
        there = {order_id for (order_id,) in self._shop.of["orders"].execute("SELECT order_id FROM orders")}
        if strangers := there - {order.order_id for order in orders}:
            raise DataError(
                f"the database holds {len(strangers)} other orders. Resume with the orders it was begun with."
            )
        left = [order for order in orders if order.order_id not in there]
        line = iter([(self._clock.monotonic() + n / rate, order) for n, order in enumerate(left)])
        await asyncio.gather(*(self._customer(line) for _ in range(CUSTOMERS)))
        await self._settle()

    async def ready(self) -> None:
        """Return when every service is up."""
        while self._shop.is_spread and not self._is_built():
            await self._clock.sleep(LOOK_SECONDS)

    def _is_built(self) -> bool:
        """Whether every process has made its tables."""
        with suppress(StorageUnavailable):
            return all(self._shop.of[trace.service].execute(BUILT, trace.table) for trace in TRACES)
        return False

    def look(self) -> None:
        """Bring the counts up to date from the orders' own table, unless its database cannot be reached now."""
        try:
            rows = self._shop.of["orders"].execute("SELECT status, count(*) FROM orders GROUP BY status")
        except StorageUnavailable:
            return
        found = Counter(dict(rows))
        counts = self._counts
        counts.accepted = found.total()
        counts.confirmed = found["confirmed"]
        counts.items_unavailable = found["items unavailable"]
        counts.payment_failed = found["payment failed"]

    async def _customer(self, line: Iterator[tuple[float, PlaceOrder]]) -> None:
        """Take the next order of the line, place it at its time, wait for the answer; and again."""
        for due, order in line:
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            await self._ask(order)

    async def _ask(self, order: PlaceOrder) -> None:
        """Ask until there is an answer: an order is accepted once, however often its customer asks for it."""
        deadline = self._clock.monotonic() + PATIENCE_SECONDS_MAX
        while True:
            try:
                await self._app.call(place, order)
            except (StorageError, OSError):
                if self._clock.monotonic() > deadline:
                    self._counts.failed += 1
                    return
            except EventseamError:
                self._counts.failed += 1
                return
            else:
                return
            await self._clock.sleep(ASK_AGAIN_SECONDS)

    async def _settle(self) -> None:
        """Wait until every accepted order is decided and every event handled, at most SETTLE_SECONDS_MAX."""
        deadline = self._clock.monotonic() + SETTLE_SECONDS_MAX
        self.look()
        while self._counts.undecided and self._clock.monotonic() < deadline:
            await self._clock.sleep(LOOK_SECONDS)
            self.look()
        if not self._shop.is_spread:
            with suppress(TimeoutError):  # what is still pending then, the report says
                await self._app.wait_idle(timeout_seconds=max(1.0, deadline - self._clock.monotonic()))
        while self._shop.is_spread and not await self._is_settled() and self._clock.monotonic() < deadline:
            await self._clock.sleep(AUDIT_SECONDS)

    async def _is_settled(self) -> bool:
        """Whether nothing is missing any more, as the auditor sees it: no process can tell of the others.

        At a broker nothing is left to read either, not even a copy.
        """
        with suppress(StorageUnavailable):
            if audit(self._shop, self._outside.charged()).lost or pending(self._shop):
                return False
            return self._broker is None or await is_read(self._broker, self._shop)
        return False


@asynccontextmanager
async def events_side(where: Where, outside: Outside, tally: Tally, counts: Counts) -> AsyncGenerator[EventsSide]:
    """The app on the environment's databases, which are `where`: started, and in the end stopped."""
    app = create(tally)
    async with app.running(("orders",) if where.is_spread else None), AsyncExitStack() as stack:
        shop = stack.enter_context(looking_at(where))
        broker = await stack.enter_async_context(broker_at(where.broker)) if where.broker else None
        side = EventsSide(app, shop, broker, outside, counts)
        side.look()
        yield side
