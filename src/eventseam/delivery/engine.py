"""The engine of one service: owns its source's slots, reads, routes to lanes, and tends what is unsettled.

It decides nothing that lasts: outcomes go to the committer, which applies them. Ownership is a shift; losing it drops
everything in memory, since the truth is in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from eventseam.delivery.attempts import Attempts
from eventseam.delivery.handler import Handler
from eventseam.delivery.item import Done, Item, Lane, Parked
from eventseam.delivery.lanes import Lanes
from eventseam.delivery.options import UNROUTED, EngineOptions
from eventseam.delivery.ownership import Ownership, Reader
from eventseam.delivery.tasks import crew
from eventseam.delivery.trouble import Trouble
from eventseam.delivery.unsettled import retried
from eventseam.errors import CursorLost, EventseamError, LaneParked, OutcomeUnknown, Refused, StorageUnavailable
from eventseam.ports.probe import IntakeChanged

if TYPE_CHECKING:
    from eventseam.delivery.committer import Committer, Surroundings
    from eventseam.delivery.shift import Shift
    from eventseam.ports.sql import Row, Sql
    from eventseam.ports.transport import Cursor, LogSource, Page, Received

_LEAVE_SECONDS = 1.0
_POLL_FIRST_SECONDS = 0.005
_POLL_MAX_SECONDS = 0.1
_LOOK_EVERY_SECONDS = 0.001
_LOOKS_SHARE = 4.0  # of four moments, looking for what commits have just announced takes one at most
_TEND_MAX_SECONDS = 0.5


class Staff(NamedTuple):
    """The handlers of one service, UNROUTED among them, all names on the wire that the app knows, and the name of the
    positions, if that is not the service's.
    """

    handlers: Sequence[Handler]
    known: frozenset[str]
    reader: str = ""


class Engine:
    """Runs the handlers of one service. `run` does everything; the rest is for the app that owns it."""

    def __init__(
        self, staff: Staff, source: LogSource, committer: Committer, around: Surroundings, options: EngineOptions
    ) -> None:
        """Wire an engine; nothing starts before `run`."""
        handlers, known, reader = staff
        self.service = handlers[0].service
        self._handlers = {handler.name: handler for handler in handlers}
        self._routes = _routes(handlers)
        self.channels = sorted({kind.channel.name for handler in handlers for kind in handler.takes.values()})
        self._source = source
        self._committer = committer
        self._around = around
        self._options = options
        self._known = known
        self._lanes = Lanes(list(self._handlers))
        self._ownership = Ownership(Reader(reader or self.service, self.service), source, around, options.lease_seconds)
        self._attempts = Attempts(handlers, self._lanes, committer, around, options)
        self._room = asyncio.Event()
        self._due = asyncio.Event()
        self._moved = asyncio.Event()
        self._is_prompt = source.memory is not None and source.memory.is_prompt
        self._stopping = False
        self._paused = ""
        self._ends_awaited = 0
        self._worth = max(1, min(options.page_max, options.in_flight_max) // 4)
        self._calls: set[asyncio.Future[object]] = set()
        self.shift: Shift | None = None

    async def run(self) -> None:
        """Own, read, handle, tend, until cancelled; then finish or drop what runs, and give up ownership."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(crew(self._attempts.workers(), _LEAVE_SECONDS))
                group.create_task(self._own())
                group.create_task(self._tend())
                if self._is_prompt:
                    group.create_task(self._acknowledge())
        finally:
            await self._leave()

    def throttle(self, before_offer: Callable[[Item], Awaitable[None]]) -> None:
        """Await `before_offer` for each item whose record publishes: the place where limits slow a handler."""
        self._attempts.throttle(before_offer)

    async def stop(self) -> None:
        """Take nothing new and wait up to the grace period for what runs. Cancel `run` afterwards."""
        self._stopping = True
        self._attempts.stop()
        clock = self._around.seams.clock
        ends = clock.monotonic() + self._options.grace_seconds
        while self._attempts.running and clock.monotonic() < ends:
            await clock.sleep(0.01)

    async def save(self) -> None:
        """Write positions that moved past messages which nobody here handles. Call it when nothing runs any more."""
        if self.shift is not None and self.shift.on:
            await self._committer.save(self.shift)

    async def call(self, handler: str, received: Received) -> object:
        """Run one command now, in its lane, and return its answer once it is committed.

        Raises what the handler raises (nothing is retried), or LaneParked.
        """
        item = Item(self, self._handlers[handler], received, None, (handler, received.envelope.key))
        if await self._is_parked(item.lane):
            message = f"{self.service}.{handler} has an unsettled message of key {item.lane[1]!r}"
            raise LaneParked(f"{message}. See: eventseam dlq list")
        item.answer = asyncio.get_running_loop().create_future()
        self._calls.add(item.answer)
        self._lanes.offer(item)
        try:
            answer = await item.answer
            if isinstance(answer, Refused):
                raise answer
            return answer
        finally:
            self._calls.discard(item.answer)

    async def _is_parked(self, lane: Lane) -> bool:
        """Whether a lane has unsettled messages; who is not the owner has to ask the database."""
        if self.shift is not None and self.shift.on:
            return lane in self.shift.parked
        return bool(await self._around.store.read(lambda sql: sql.rows("lane_rows", self.service, *lane)))

    def has(self, handler: str) -> bool:
        """Whether it runs a handler of this name."""
        return handler in self._handlers

    def is_resting(self) -> bool:
        """Whether it owns something and nothing of that is under way, as far as it has read."""
        shift = self.shift
        if shift is None or not shift.on:
            return False
        return not shift.claimed and not any(len(slot.window) for slot in shift.slots.values())

    # --- ownership and intake -------------------------------------------------------------------------------------

    async def _own(self) -> None:
        """Take the source's slots whenever they are free, and read them for as long as they are ours."""
        while True:
            self.shift = await self._ownership.take()
            self._due.set()
            await self._read(self.shift)
            self._lanes.clear()
            self._attempts.drop_probes()
            self._ownership.lost()

    async def _read(self, shift: Shift) -> None:
        """Read a shift until it ends; without any channel too: its position must not hold up the trim."""
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read_slots(shift))
            await self._ownership.keep(shift)
            reader.cancel()

    async def _read_slots(self, shift: Shift) -> None:
        pause, trouble = _POLL_FIRST_SECONDS, Trouble(self._around.probe)
        while shift.on:
            room = self._room_in(shift)
            if room < self._worth:  # a look for each message that ends would cost more than the message
                await self._wait_for(self._worth - room, _POLL_MAX_SECONDS)
                room = self._room_in(shift)
            at = self._intake(shift) if room > 0 else {}
            if not at:
                await self._wait_for(1, _POLL_MAX_SECONDS)
                if self._source.offered is None:
                    continue  # else whoever shares out the slots has to hear of us, or never gives us any
            looked = self._around.seams.clock.monotonic()
            try:
                pages = await self._source.fetch(at, self.channels, max(1, min(room, self._options.page_max)))
            except CursorLost:
                shift.end()
                return
            except StorageUnavailable as error:
                trouble.tell(error, _POLL_MAX_SECONDS)
                await self._around.seams.clock.sleep(_POLL_MAX_SECONDS)
                continue
            trouble.is_over()
            again = looked + max(_LOOK_EVERY_SECONDS, _LOOKS_SHARE * (self._around.seams.clock.monotonic() - looked))
            if self._take_in(shift, at, pages):
                pause = _POLL_FIRST_SECONDS
                await asyncio.sleep(0)
            elif len(at) < len(shift.staying):  # the others are full: what ends there lets more in
                await self._wait_for(self._worth, pause)
                pause = min(pause * 1.5, _POLL_MAX_SECONDS)
            else:
                await self._source.wait(pause)
                pause = min(pause * 1.5, _POLL_MAX_SECONDS)
                early = again - self._around.seams.clock.monotonic()
                if early > 0:  # a commit a moment ago woke us: what comes next is seen by the same look
                    await self._around.seams.clock.sleep(early)

    def _intake(self, shift: Shift) -> dict[int, Cursor]:
        """The slots that may be read on, and from where."""
        if self._stopping or not self._has_room(shift):
            return {}
        most, cap = self._options.beyond_max, self._slot_cap(shift)
        windows = {number: shift.slots[number].window for number in shift.staying}
        return {
            number: window.scanned
            for number, window in windows.items()
            if len(window) < most and window.unfinished < cap
        }

    def _room_in(self, shift: Shift) -> int:
        """How many messages more may be in flight."""
        if self._source.cap_by == "reader":
            return self._options.in_flight_max - shift.in_flight
        cap = self._slot_cap(shift)
        return sum(max(0, cap - shift.slots[number].window.unfinished) for number in shift.staying)

    def _slot_cap(self, shift: Shift) -> int:
        """How many may be in flight of one slot. A log in partitions comes in long runs of each: all need their own."""
        if self._source.cap_by == "reader":
            return self._options.in_flight_max
        return max(self._options.in_flight_slot_min, self._options.in_flight_max // max(1, len(shift.slots)))

    def _take_in(self, shift: Shift, at: Mapping[int, Cursor], pages: Iterable[Page]) -> bool:
        """Admit what was read; whether there may be more at once. A slot that changes hands meanwhile is left."""
        is_more, expected = False, dict(at)
        for page in pages:
            slot = shift.slots.get(page.slot)
            if slot is None or page.slot in shift.leaving or slot.window.scanned != expected[page.slot]:
                continue
            window = slot.window
            expected[page.slot] = page.end
            window.read(page)
            for received in page.messages:
                self._admit(shift, page.slot, received)
            window.passed(page)
            is_more = is_more or bool(page.messages) or not page.is_whole
        return is_more

    def _has_room(self, shift: Shift) -> bool:
        """Whether the bounds on parked lanes, and on what may finish before a slow message, let more in.

        A change is told once, with the bound's name.
        """
        bound = ""
        if len(shift.parked) >= self._options.parked_lanes_max:
            bound = "parked_lanes_max"
        elif self._is_beyond(shift):
            bound = "beyond_max"
        if bound != self._paused and self._around.probe is not None:
            self._around.probe.observe(IntakeChanged(self.service, bool(bound), bound or self._paused))
        self._paused = bound
        return not bound

    def _is_beyond(self, shift: Shift) -> bool:
        """Whether too much has finished before a slow message: in any slot of those that are read together."""
        over = (len(slot.window) >= self._options.beyond_max for slot in shift.slots.values())
        return any(over) if self._source.cap_by == "reader" else all(over)

    async def _wait_for(self, ends: int, seconds: float) -> None:
        """Wait for the end of so many messages, at most for a while: those that are left may take theirs."""
        self._room.clear()
        self._ends_awaited = ends
        try:
            async with asyncio.timeout(seconds):
                await self._room.wait()
        except TimeoutError:
            return
        finally:
            self._ends_awaited = 0

    def _admit(self, shift: Shift, number: int, received: Received) -> None:
        """Route one message to the lanes of its handlers, or past those that wait behind an unsettled one."""
        wire = received.envelope.type
        handlers = self._routes.get(wire)
        if handlers is None:
            if wire in self._known:
                return
            handlers = (self._handlers[UNROUTED],)
        if not shift.slots[number].window.admit(received.position, len(handlers)):
            return
        for handler in handlers:
            lane = (handler.name, received.envelope.key)
            item = Item(self, handler, received, shift, lane, number)
            if lane in shift.parked:
                self._let_wait(shift, item)
            else:
                self._lanes.offer(item)

    def _let_wait(self, shift: Shift, item: Item) -> None:
        item.outcome = Parked("waiting", 0, self._around.seams.clock.now().timestamp())
        shift.park(item.lane, item.slot, 1)
        self._committer.offer(item)

    # --- what attempts report -------------------------------------------------------------------------------------

    def park(self, item: Item, parked: Parked) -> None:
        """An attempt did not succeed: the message goes to `unsettled`, and what is behind it in its lane follows."""
        item.outcome = parked
        shift = item.shift
        if shift is None or shift is not self.shift or not shift.on:
            return
        if item.row is None:
            shift.park(item.lane, item.slot, 1)
        self._committer.offer(item)
        if item.row is None:
            for waiting in self._lanes.drain(item.lane):
                if waiting.answer is None:
                    self._let_wait(shift, waiting)
                elif not waiting.answer.done():
                    message = f"{self.service}.{item.lane[0]}: key {item.lane[1]!r} waits. See: eventseam dlq list"
                    waiting.answer.set_exception(LaneParked(message))

    def settled(self, item: Item) -> None:
        """See delivery.item.Home."""
        if self._ends_awaited:
            self._ends_awaited -= 1
            if not self._ends_awaited:
                self._room.set()
        if self._is_prompt:
            self._moved.set()
        if item.answer is not None:
            if not item.answer.done():
                item.answer.set_result(item.outcome.record.answer if type(item.outcome) is Done else None)
            self._lanes.release(item.lane)
            return
        shift = item.shift
        if shift is None or shift is not self.shift or not shift.on:
            return
        if item.row is not None:
            self._settled_retry(shift, item)
        elif type(item.outcome) is Done:
            self._lanes.release(item.lane)
        else:
            shift.parked[item.lane] -= 1
            self._due.set()
            if item.result == "duplicate" and not shift.parked[item.lane]:
                shift.recheck.add(item.lane)

    def _settled_retry(self, shift: Shift, item: Item) -> None:
        shift.claimed.pop(item.row or 0, None)
        if type(item.outcome) is Parked:
            for handler in item.outcome.to:
                shift.park((handler, item.lane[1]), item.slot)
        if item.result == "gone":
            shift.recheck.add(item.lane)
        elif item.lane_is_free and not shift.parked.get(item.lane):
            shift.free(item.lane)
        self._due.set()

    def handlers_of(self, wire: str) -> tuple[str, ...]:
        """The handlers that take a type, by its name on the wire."""
        return tuple(handler.name for handler in self._routes.get(wire, ()))

    def unapplied(self, item: Item, error: Exception) -> None:
        """See delivery.item.Home."""
        self._attempts.failed(item, error)

    # --- what is unsettled ----------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Bring back heads whose time has come; save a position that moved without an apply."""
        clock = self._around.seams.clock
        saved_at, saved_head = clock.monotonic(), -1
        while True:
            pause = _TEND_MAX_SECONDS
            try:
                if self.shift is not None and self.shift.on and not self._stopping:
                    pause = await self._bring_back(self.shift)
                    head = self._source.head
                    if head != saved_head and clock.monotonic() - saved_at > self._options.save_position_seconds:
                        saved_at, saved_head = clock.monotonic(), head
                        await self._committer.save(self.shift)
                        await self._source.report({n: slot.saved for n, slot in self.shift.slots.items()})
            except (StorageUnavailable, OutcomeUnknown):
                pause = _TEND_MAX_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._due.wait()
            except TimeoutError:
                continue
            self._due.clear()

    async def _acknowledge(self) -> None:
        """Save what has moved as soon as it has."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                if self.shift is not None and self.shift.on:
                    await self._committer.save(self.shift)
            except (StorageUnavailable, OutcomeUnknown):
                self._moved.set()
                await self._around.seams.clock.sleep(_POLL_MAX_SECONDS)

    async def _bring_back(self, shift: Shift) -> float:
        """Offer every due head to its lane; the seconds until the next look."""
        for lane in list(shift.recheck):
            shift.recheck.discard(lane)
            await self._recheck(shift, lane)
        pause = _TEND_MAX_SECONDS
        for name in sorted({lane[0] for lane in shift.parked}):
            pause = min(pause, await self._bring_back_handler(shift, name))
        return max(pause, 0.005)

    async def _bring_back_handler(self, shift: Shift, name: str) -> float:
        handler = self._handlers.get(name)
        if handler is None:  # rows of a handler that this code does not have: they wait for a version that has it
            return _TEND_MAX_SECONDS
        busy = {row for row, (owner, _) in shift.claimed.items() if owner == name}
        slots = sorted(shift.staying)
        limit = self._attempts.admits(name, self._options.due_max - len(busy))
        if limit <= 0:
            return self._attempts.probe_in(name)
        now = self._around.seams.clock.now().timestamp()
        jumped = now + handler.retry.seconds_max

        async def due(sql: Sql) -> tuple[Sequence[Row], float | None]:
            rows = await sql.rows("due", self.service, name, now, jumped, limit + len(busy), slots)
            return rows, (await sql.rows("next_due", self.service, name, now, slots))[0][0]

        self._around.seams.at("pre-timer")
        rows, following = await self._around.store.read(due)
        for row in [row for row in rows if row[0] not in busy][:limit]:  # busy ones may be stale: changed meanwhile
            if row[-1] in shift.slots and row[-1] not in shift.leaving:  # it may have changed hands meanwhile
                self._retry(shift, handler, row)
        self._around.seams.at("post-timer")
        return _TEND_MAX_SECONDS if following is None else min(_TEND_MAX_SECONDS, following - now)

    def _retry(self, shift: Shift, handler: Handler, row: Row) -> None:
        row_id, attempts, since, position, envelope, body, slot = row
        shift.claimed[row_id] = (handler.name, slot)
        received = retried(position, envelope, body)
        item = Item(self, handler, received, shift, (handler.name, received.envelope.key), slot)
        item.row, item.attempts, item.since = row_id, attempts, since
        shift.park(item.lane, slot)
        self._attempts.prepare(item)
        self._lanes.ready[handler.name].put(item)

    async def _recheck(self, shift: Shift, lane: tuple[str, str]) -> None:
        """Free a lane whose rows are all gone."""

        async def rows(sql: Sql) -> bool:
            return bool(await sql.rows("lane_rows", self.service, *lane))

        commits = shift.commits
        found = await self._around.store.read(rows)
        if shift.commits != commits:  # what was read may be out of date
            shift.recheck.add(lane)
        elif not found and not shift.parked.get(lane):
            shift.free(lane)

    async def _leave(self) -> None:
        """Forget what runs and release ownership, so that the next owner need not wait for the lease to end."""
        if self.shift is not None:
            self.shift.end()
        for answer in self._calls:
            if not answer.done():
                answer.set_exception(EventseamError("the app stopped before the command was committed: call it again"))
        await self._source.close()
        await self._ownership.release()
        self._attempts.close()


def _routes(handlers: Sequence[Handler]) -> dict[str, tuple[Handler, ...]]:
    routes: dict[str, tuple[Handler, ...]] = {}
    for handler in handlers:
        for wire in handler.takes:
            routes[wire] = (*routes.get(wire, ()), handler)
    return routes
