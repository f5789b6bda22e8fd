"""The demo itself: both shops, the same orders, one outage in the middle, and at the end a report.

Everything that a kill must not take away is in the shop's databases, and in the file of the outside.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

from eventseam.clock import Clock, SystemClock
from eventseam.demo import poison
from eventseam.demo.board import Board, Counts
from eventseam.demo.chain.progress import Task
from eventseam.demo.chain.side import ChainSide, chain_side
from eventseam.demo.events import EventsSide, Tally, events_side
from eventseam.demo.look import looking_at
from eventseam.demo.outside import Outside, opened
from eventseam.demo.processes import Processes, six_processes
from eventseam.demo.report import Report, of_chain, of_events, without_events
from eventseam.errors import EventseamError

if TYPE_CHECKING:
    from eventseam.demo.data import Order
    from eventseam.demo.options import Options
    from eventseam.demo.where import Where

BEAT_SECONDS = 0.25
LOOK_SECONDS = 0.02
POISON_ATTEMPTS_MAX = 60

Show = Callable[[Board], None]


async def run(options: Options, orders: Sequence[Order], where: Where, show: Show) -> Report:
    """Run the demo on the shop at `where`, new or resumed; `show` is called with the board a few times a second.

    Raises DataError if the database holds other orders than these.
    """
    with _environment(where), opened(str(where.outside)) as outside:
        outside.prepare(
            [order.place.order_id for order in orders if order.status == "unavailable"],
            [order.place.order_id for order in orders if order.status == "canceled"],
        )
        await _Demo(options, orders, where, outside, show).run()
        return _report(options, orders, where, outside)


@contextmanager
def _environment(where: Where) -> Generator[None]:
    """Configure the shop as anybody would, by its environment; as it was before, afterwards."""
    before = dict(os.environ)
    os.environ |= where.environment("orders")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


class _Demo:
    """One run, from the first order to the last outcome."""

    def __init__(self, options: Options, orders: Sequence[Order], where: Where, outside: Outside, show: Show) -> None:
        self._options = options
        self._orders = orders
        self._where = where
        self._outside = outside
        self._show = show
        self._tally = Tally()
        self._clock: Clock = SystemClock()
        self._is_over = False
        self._board = Board(
            len(orders),
            chain=None if options.only == "events" else Counts(),
            events=None if options.only == "chain" else Counts(),
        )

    async def run(self) -> None:
        """Start both shops, let them run side by side, and stop them."""
        events: EventsSide | None = None
        chain: ChainSide | None = None
        processes: Processes | None = None
        async with AsyncExitStack() as stack:
            if self._board.events:
                if self._where.is_spread:
                    processes = await stack.enter_async_context(six_processes(self._where, self._tally))
                side = events_side(self._where, self._outside, self._tally, self._board.events)
                events = await stack.enter_async_context(side)
            if self._board.chain:
                chain = await stack.enter_async_context(chain_side(self._task(), self._board.chain))
            await self._side_by_side(events, chain, processes)

    async def _side_by_side(
        self, events: EventsSide | None, chain: ChainSide | None, processes: Processes | None
    ) -> None:
        """Return when every customer has an answer and every order an outcome. Raises what goes wrong first."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat(events))
                keeping = group.create_task(processes.run()) if processes else None
                work = [group.create_task(self._outage())]
                if events:
                    orders = [order.place for order in self._orders]
                    work += [group.create_task(events.run(orders, self._options.rate))]
                    work += [group.create_task(self._poison())]
                if chain:
                    work += [group.create_task(self._chain(chain, events))]
                await asyncio.wait(work)
                self._is_over = True
                if keeping:
                    keeping.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _chain(self, chain: ChainSide, events: EventsSide | None) -> None:
        """Let both shops open at the same time: the outage is the same for both."""
        if events:
            await events.ready()
        await chain.run()

    def _task(self) -> Task:
        options = self._options
        data = str(options.data) if options.data else None
        return Task(str(self._where.outside), options.rate, data, options.seed, options.orders)

    async def _outage(self) -> None:
        """In the middle the gateway goes down, once. If a kill came between, the outage goes on by the wall clock."""
        seconds = self._options.outage_seconds
        if seconds <= 0:
            return
        await self._until_offered(len(self._orders) // 2)
        self._outside.begin_outage(self._now())
        outage = self._outside.outage()
        if outage is None or outage.ended_at is not None:
            return
        self._board.outage = "down"
        await self._clock.sleep(max(0.0, outage.began_at + seconds - self._now()))
        self._outside.end_outage(self._now())
        self._board.outage = "over"

    async def _poison(self) -> None:
        """Early on, a foreign program spoils the journal."""
        if not self._options.poison:
            return
        await self._until_offered(len(self._orders) // 4)
        command = (sys.executable, poison.__file__, str(self._options.poison))
        environment = {**os.environ, **self._where.environment("shipping")}
        error = b""
        for _ in range(POISON_ATTEMPTS_MAX):
            process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=subprocess.PIPE)
            _, error = await process.communicate()
            if process.returncode == 0:
                return
            await self._clock.sleep(1.0)
        raise EventseamError(f"the foreign program could not spoil the journal: {error.decode().strip()[-300:]}")

    async def _until_offered(self, count: int) -> None:
        while self._board.offered < count:
            await self._clock.sleep(LOOK_SECONDS)

    async def _beat(self, events: EventsSide | None) -> None:
        """A few times a second: look, remember, show."""
        run = self._outside.begin_run()
        start = self._clock.monotonic()
        while True:
            is_over = self._is_over
            if events:
                events.look()
            self._outside.count(run, self._tally.retries, self._tally.duplicates)
            self._board.seconds = self._clock.monotonic() - start
            self._show(self._board)
            if is_over:
                return
            await self._clock.sleep(BEAT_SECONDS)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _report(options: Options, orders: Sequence[Order], where: Where, outside: Outside) -> Report:
    checks: dict[str, bool] = {}
    chain = events = None
    if options.only != "events":
        chain, more = of_chain(orders, outside)
        checks |= more
    if options.only != "chain":
        with looking_at(where) as shop:
            events = of_events(orders, shop, outside, options.outage_seconds)
        checks |= events.checks
    return Report(
        orders=events.orders if events else None,
        synchronous=chain,
        outage=events.outage if events else without_events(outside, options.outage_seconds),
        events=events.events if events else None,
        read_model=events.read_model if events else None,
        checks=checks,
    )
