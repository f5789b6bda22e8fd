"""The committer: applies whatever is ready, in one transaction of at most `batch_max` records; no window timer.

One per database and process. An error of a recorded write is isolated by applying halves again: no handler is called
twice. Trouble of the database itself is waited out with everything kept; what is refused again and again while the
database takes other work is isolated like an error. A lost fence drops what its owner had, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eventseam.clock import Seams
from eventseam.delivery.apply import Fence, apply, pass_fences
from eventseam.delivery.item import Done, Item, Parked
from eventseam.delivery.shift import Shift, Slot
from eventseam.delivery.unsettled import rehearse
from eventseam.errors import Fenced, OutcomeUnknown, StorageError, StorageUnavailable
from eventseam.ports.probe import Applied, Probe, StorageTrouble
from eventseam.ports.sql import Sql, Store

Positions = dict[tuple[Shift, int], list[int]]
_PAUSE_FIRST_SECONDS = 0.05
_PAUSE_MAX_SECONDS = 2.0
REFUSALS_MAX = 2
"""What the database has refused so often, each time just after it took other work, is refused because of itself."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the engine's parts share: the database, the seams, who is told, and how to wake the tails."""

    store: Store
    seams: Seams
    probe: Probe | None
    wake: Callable[[], None]
    batch_max: int = 500


class Committer:
    """Items come in through `offer`; their homes are told when they are committed."""

    def __init__(self, around: Surroundings) -> None:
        """Begin with nothing to do; `run` does the work."""
        self._around = around
        self._queue: deque[Item] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def offer(self, item: Item) -> None:
        """Take an item whose outcome is decided. The order of offers is the order of application."""
        if not self._queue:
            self._idle.clear()
            self._work.set()
        self._queue.append(item)

    async def run(self) -> None:
        """Apply until cancelled."""
        while True:
            await self._work.wait()
            batch = self._take()
            if batch:
                async with held(_slots(batch)):
                    await self._apply(batch)
            else:  # what is left belongs to slots in which a transaction runs; its end wakes us
                self._work.clear()
            if not self._queue:
                self._work.clear()
                self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is waiting and nothing is being applied."""
        return self._idle.is_set()

    async def wait_idle(self) -> None:
        """Return when nothing is waiting and nothing is being applied."""
        await self._idle.wait()

    async def exclusively(self, item: Item, body: Callable[[Sequence[Fence]], Awaitable[int]]) -> None:
        """Run `body` (an apply of its own, for `item` alone) while nothing else of its slot is applied, then report it.

        `body` returns how many messages it published. Nothing happens if the item's owner is no more.
        """
        try:
            async with held(_slots((item,))):
                if item.shift is not None and not item.shift.on:
                    return
                positions = _positions((item,))
                began, fences = self._around.seams.clock.monotonic(), _fences(positions)
                published = await body(fences)
                self._finish((item,), positions, fences, began, published)
        finally:
            if self._queue:
                self._work.set()

    async def rehearse(self, item: Item) -> None:
        """Return if the database takes other work of `item`'s owner now. Raises StorageUnavailable if it does not."""
        try:
            async with held(_slots((item,))):
                if item.shift is None or item.shift.on:
                    await self._rehearse(item)
        finally:
            if self._queue:
                self._work.set()

    async def save(self, shift: Shift) -> None:
        """Write positions that moved without an apply (past messages that nobody here handles)."""
        behind = {(shift, n): slot for n, slot in sorted(shift.slots.items()) if slot.saved != slot.window.done}
        async with held(behind.values()):
            moved: Positions = {
                (shift, number): []
                for (_, number), slot in behind.items()
                if slot.saved != slot.window.done and shift.slots.get(number) is slot  # it may be given back by now
            }
            if moved and shift.on and shift.memory is not None:
                cursors = [
                    (number, slot.rev, slot.window.done)
                    for (_, number), slot in behind.items()
                    if number in shift.slots
                ]
                await shift.memory.save(cursors)
                for number, _, cursor in cursors:
                    shift.slots[number].saved = cursor
            elif moved and shift.on:
                fences, seams = _fences(moved), self._around.seams
                try:
                    await self._around.store.write(lambda sql: pass_fences(sql, fences, seams, alone=False))
                except (Fenced, OutcomeUnknown):
                    shift.end()
                else:
                    self._committed((), moved, fences)
        if self._queue:
            self._work.set()

    def _take(self) -> list[Item]:
        """Up to `batch_max` items; those of an owner that is no more are dropped, those of a busy slot wait."""
        queue, left = self._queue, self._around.batch_max
        batch: list[Item] = []
        waiting: list[Item] = []
        while queue and left > 0:
            item = queue.popleft()
            left -= 1 + len(item.others)
            if item.shift is None:
                batch.append(item)
            elif item.shift.on:
                (waiting if _is_busy(item) else batch).append(item)
        queue.extendleft(reversed(waiting))
        return batch

    async def _apply(self, batch: Sequence[Item], guilty: set[str] | None = None) -> None:
        """Apply until it is done, isolated or nobody's any more.

        After trouble (`guilty` are the handlers found to be its cause) each try is rehearsed: only what is refused then
        can be to blame.
        """
        pause, refusals = _PAUSE_FIRST_SECONDS, 0
        while batch:
            is_rehearsed = False
            try:
                if guilty is not None:
                    await self._rehearse(batch[0])
                    is_rehearsed = True
                await self._write(batch)
            except Fenced as fenced:
                _drop(batch, reader=str(fenced))
            except OutcomeUnknown:
                _drop(batch)
            except StorageUnavailable as error:
                refusals += is_rehearsed and not error.is_of_ours
                if is_to_blame(batch, refusals, guilty or ()):
                    await self._isolate(batch, error, guilty)
                    return
                self._tell(StorageTrouble(str(error), pause, _handler_of(batch)))
                await self._around.seams.clock.sleep(pause)
                pause = min(pause * 2, _PAUSE_MAX_SECONDS)
                guilty = set() if guilty is None else guilty
            except Exception as error:  # noqa: BLE001 - whatever a recorded write can raise is its message's own failure
                await self._isolate(batch, error)
                return
            else:
                return
            batch = [item for item in batch if item.shift is None or item.shift.on]

    async def _rehearse(self, item: Item) -> None:
        """Pass the item's fence and commit what parking it would need, and a little more, taken away again."""
        seams = self._around.seams
        positions: Positions = {(item.shift, item.slot): []} if item.shift is not None else {}
        fences, now = _fences(positions), seams.clock.now().timestamp()

        async def operation(sql: Sql) -> None:
            await pass_fences(sql, fences, seams)
            await rehearse(sql, item, seams.ids.new(), now)

        await self._around.store.write(operation)
        self._committed((), positions, fences)

    async def _isolate(self, batch: Sequence[Item], error: Exception, guilty: set[str] | None = None) -> None:
        """Halve until the item that cannot be applied stands alone; it gets another outcome from its home."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._apply(batch[:middle], guilty)
            await self._apply([item for item in batch[middle:] if item.shift is None or item.shift.on], guilty)
            return
        item = batch[0]
        if type(item.outcome) is Parked:
            raise error  # not the handler's doing: a fault of ours must not be retried for ever
        if isinstance(error, StorageUnavailable):
            error = refused_alone(item, error)
            if guilty is not None:
                guilty.add(_handler_of(batch))
        item.home.unapplied(item, error)

    async def _write(self, batch: Sequence[Item]) -> None:
        around = self._around
        positions = _positions(batch)
        fences = _fences(positions)
        began = around.seams.clock.monotonic()

        async def operation(sql: Sql) -> int:
            return await apply(sql, batch, fences, around.seams)

        self._finish(batch, positions, fences, began, await around.store.write(operation))

    def _finish(
        self, batch: Sequence[Item], positions: Positions, fences: Sequence[Fence], began: float, published: int
    ) -> None:
        self._committed(batch, positions, fences)
        if published:
            self._around.wake()
        if self._around.probe is not None:
            self._report(batch, published, self._around.seams.clock.monotonic() - began)

    def _committed(self, batch: Sequence[Item], positions: Positions, fences: Sequence[Fence]) -> None:
        for ((shift, number), finished), fence in zip(positions.items(), fences, strict=True):
            slot = shift.slots[number]
            slot.window.advance(finished)
            slot.rev += 1
            if shift.memory is None:
                slot.saved = fence.done  # not the window's: it may have read on during the commit
        for leader in batch:
            for item in (leader, *leader.others) if leader.others else (leader,):
                item.home.settled(item)

    def _report(self, batch: Sequence[Item], published: int, seconds: float) -> None:
        services: dict[str, list[Item]] = {}
        for leader in batch:
            services.setdefault(leader.handler.service, []).extend((leader, *leader.others))
        for service, items in services.items():
            parked = [item.outcome.state for item in items if type(item.outcome) is Parked]
            handled = sum(type(item.outcome) is Done and item.result == "applied" for item in items)
            duplicates = sum(item.result == "duplicate" for item in items)
            retrying, dead = parked.count("retrying"), parked.count("dead")
            self._tell(Applied(service, handled, duplicates, retrying, dead, published, seconds))
            published = 0

    def _tell(self, observation: Applied | StorageTrouble) -> None:
        if self._around.probe is not None:
            self._around.probe.observe(observation)


def is_to_blame(batch: Sequence[Item], refusals: int, guilty: Container[str] = ()) -> bool:
    """Whether what the database refused `refusals` times is refused because of itself: then it is halved, or given up.

    Half of a batch is found to be fine later; one message pays with an attempt, unless its outcome is not its own.
    """
    if len(batch) > 1:
        return refusals > 0
    if type(batch[0].outcome) is Parked:
        return False
    return refusals >= (1 if _handler_of(batch) in guilty else REFUSALS_MAX)


def refused_alone(item: Item, error: StorageUnavailable) -> StorageError:
    """The error of a message that the database refuses while it takes other work."""
    told = (
        f"the database refused what {_handler_of((item,))} did, again and again, and took other work meanwhile: {error}"
    )
    refused = StorageError(told)
    refused.__cause__ = error
    return refused


def _handler_of(batch: Sequence[Item]) -> str:
    """Whose work a batch is, if it is one handler's."""
    names = {f"{item.handler.service}.{item.handler.name}" for item in batch}
    return names.pop() if len(names) == 1 else ""


def _positions(batch: Iterable[Item]) -> Positions:
    """The positions that each owned slot finishes with this batch; a retry finishes none, yet must pass the fence."""
    found: Positions = {}
    finished: list[int] = []
    last: tuple[Shift | None, int] = (None, 0)
    for leader in batch:
        for item in (leader, *leader.others) if leader.others else (leader,):
            shift = item.shift
            if shift is None:
                continue
            if shift is not last[0] or item.slot != last[1]:  # neighbours nearly always share their slot
                last = (shift, item.slot)
                finished = found.setdefault((shift, item.slot), [])
            if item.row is None:
                finished.append(item.received.position)
    return found


def _fences(positions: Positions) -> list[Fence]:
    return [_fence(shift, number, shift.slots[number], finished) for (shift, number), finished in positions.items()]


def _fence(shift: Shift, number: int, slot: Slot, finished: list[int]) -> Fence:
    if shift.memory is not None:
        return Fence(shift.reader, number, slot.rev, (), slot.stored, shift.life)
    done, beyond = slot.window.after(finished)
    if shift.is_apart:
        return Fence(shift.reader, number, slot.rev, beyond, done, shift.life, slot.stored)
    return Fence(shift.reader, number, slot.rev, beyond, done, shift.life)


def _is_busy(item: Item) -> bool:
    """Whether a transaction runs in a slot of an item, or of the batch that it leads."""
    slots = item.shift.slots  # type: ignore[union-attr]
    if item.others:
        return any(slots[each.slot].gate.locked() for each in (item, *item.others))
    return slots[item.slot].gate.locked()


def _slots(batch: Iterable[Item]) -> list[Slot]:
    """The slots that a batch touches, each once, always in the same order."""
    found: dict[tuple[str, int], Slot] = {}
    last: tuple[Shift | None, int] = (None, -1)
    for leader in batch:
        for item in (leader, *leader.others) if leader.others else (leader,):
            shift = item.shift
            if shift is not None and (shift is not last[0] or item.slot != last[1]):
                last = (shift, item.slot)
                found[shift.reader, item.slot] = shift.slots[item.slot]
    return [found[place] for place in sorted(found)]


@asynccontextmanager
async def held(slots: Iterable[Slot]) -> AsyncGenerator[None]:
    """Let nothing else be applied in these slots."""
    taken: list[Slot] = []
    try:
        for slot in slots:
            await slot.gate.acquire()
            taken.append(slot)
        yield
    finally:
        for slot in taken:
            slot.gate.release()


def _drop(batch: Iterable[Item], reader: str | None = None) -> None:
    """Nothing of these owners was applied, or nobody knows: whoever owns their slots now loads what is true."""
    for item in batch:
        if item.shift is not None and reader in (None, item.shift.reader):
            item.shift.end()
        elif item.shift is None and reader is None and item.answer is not None and not item.answer.done():
            item.answer.set_exception(OutcomeUnknown("the commit's reply was lost: read before you call again"))
