"""Attempts: long-lived workers that run handlers, time them out, and turn what happened into outcomes.

A handler is called once per attempt, whatever its neighbours do. What it raises is its message's own affair: never a
reason for another message to wait, unless the whole handler is in trouble (its circuit).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from eventseam.delivery.apply import Fence, TornBatch, check_opening, claim_inbox, opening_of, publish, settle_rows
from eventseam.delivery.circuit import CLOSED, CircuitState
from eventseam.delivery.committer import is_to_blame, refused_alone
from eventseam.delivery.handler import Handler, Incoming, Record, outgoing
from eventseam.delivery.item import Cause, Done, Item, Parked, cause_of, text_of
from eventseam.delivery.options import UNROUTED, EngineOptions
from eventseam.delivery.policy import Dead, next_step
from eventseam.delivery.worker import NEVER, GivenUp, Unfinished, Worker, is_running_loop, raise_cancelled
from eventseam.errors import (
    ContractError,
    Fenced,
    HandlerTimeout,
    NotYet,
    OutcomeUnknown,
    Overloaded,
    Refused,
    StorageUnavailable,
    TooLarge,
    Undecodable,
    UnknownType,
)  # fmt: skip
from eventseam.journal.append import timestamp
from eventseam.ports.probe import CircuitChanged, HandlerFailed, Observation, StorageTrouble
from eventseam.ports.sql import Opening, Sql, run_sync
from eventseam.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

    from eventseam.delivery.committer import Committer, Surroundings
    from eventseam.delivery.lanes import Lanes

    Before = Callable[[Sql], Coroutine[Any, Any, bool]]

T = TypeVar("T")

_CANCELS_MAX = 3
_CANCEL_AGAIN_SECONDS = 1.0
_SLICE_SECONDS = 0.005
_TROUBLE_SECONDS = 0.1
_NOT_COUNTED = (Undecodable, UnknownType, TooLarge, NotYet)


class Attempts:
    """The workers and circuits of one service."""

    def __init__(
        self,
        handlers: Sequence[Handler],
        lanes: Lanes,
        committer: Committer,
        around: Surroundings,
        options: EngineOptions,
    ) -> None:
        """Wire the workers; `workers` yields what is to be run."""
        self._handlers = handlers
        self._lanes = lanes
        self._committer = committer
        self._around = around
        self._options = options
        self._circuits: dict[str, CircuitState] = {handler.name: CLOSED for handler in handlers}
        self._workers: list[Worker] = []
        self._threads = Threads(f"eventseam-{handlers[0].service}", options.threads_max)
        self._before_offer: Callable[[Item], Awaitable[None]] | None = None
        self.running = 0
        self.stopping = False

    def workers(self) -> Iterator[Coroutine[Any, Any, None]]:
        """One coroutine per worker, and the watchdog that times handlers out."""
        for handler in self._handlers:
            for _ in range(self._count(handler)):
                yield self._work(handler)
        shortest = min(handler.timeout_seconds for handler in self._handlers)
        yield self._watch(min(0.5, max(0.02, shortest / 20)))

    def throttle(self, before_offer: Callable[[Item], Awaitable[None]]) -> None:
        """Await `before_offer` for each item whose record publishes: the place where limits slow a handler."""
        self._before_offer = before_offer

    def close(self) -> None:
        """End the idle threads."""
        self._threads.close()

    def admits(self, handler: str, limit: int) -> int:
        """How many retries of a handler may run now: none while its circuit is open, one as a probe."""
        circuit = self._circuits[handler]
        if circuit.state == "closed":
            return limit
        return 1 if circuit.may_probe(self._around.seams.clock.monotonic()) else 0

    def probe_in(self, handler: str) -> float:
        """Seconds until a handler's circuit may be probed, between 5 ms and half a second."""
        return min(0.5, max(0.005, self._circuits[handler].probe_at - self._around.seams.clock.monotonic()))

    def prepare(self, item: Item) -> None:
        """A retry is on its way: if the circuit is open, it is the probe."""
        circuit = self._circuits[item.handler.name]
        if circuit.state == "open":
            self._set_circuit(item.handler, circuit.when_probed())

    def stop(self) -> None:
        """Start nothing new but calls; tell what runs, so that a long handler may end early."""
        self.stopping = True
        for worker in self._workers:
            for item in worker.items:
                item.stopping = True

    def drop_probes(self) -> None:
        """Ownership is lost: a probe that was dropped must not be waited for."""
        for handler in self._handlers:
            self._set_circuit(handler, self._unproved(handler))

    def _unproved(self, handler: Handler) -> CircuitState:
        return self._circuits[handler.name].after_nothing(self._around.seams.clock.monotonic())

    # --- workers --------------------------------------------------------------------------------------------------

    def _count(self, handler: Handler) -> int:
        if handler.mode == "tx":
            return self._around.store.transactions_max
        if handler.mode == "batch":
            return 1
        return self._options.workers  # of a `def` handler most wait for a thread: each takes the next one at once

    async def _work(self, handler: Handler) -> None:
        worker = Worker(asyncio.current_task())  # type: ignore[arg-type]
        self._workers.append(worker)
        ready, clock = self._lanes.ready[handler.name], self._around.seams.clock
        attempt = self._attempt_for(handler)
        slice_ends, turns = 0.0, 0
        while True:
            if ready.items:
                item = ready.items.popleft()
            else:
                item = await ready.get()
                slice_ends = clock.monotonic() + _SLICE_SECONDS
            if self._is_wanted(item) and self._admitted(item):
                self.running += 1
                try:
                    await attempt(worker, item)
                except GivenUp:
                    return
                finally:
                    self.running -= not worker.is_given_up
            turns += 1
            if not turns & 15 and clock.monotonic() > slice_ends:  # leave the loop to others every few milliseconds
                await asyncio.sleep(0)
                slice_ends = clock.monotonic() + _SLICE_SECONDS

    def _attempt_for(self, handler: Handler) -> Callable[[Worker, Item], Awaitable[None]]:
        if handler.mode == "tx":
            return self._attempt_tx
        return self._attempt_batch if handler.mode == "batch" else self._attempt

    def _gathered(self, first: Item) -> list[Item]:
        """What a batch handler takes: all that is ready and may run together."""
        ready = self._lanes.ready[first.handler.name]
        items = [first]
        if first.together and first.from_source:
            for item in ready.more(first.handler.batch_max - 1):
                if not (item.together and item.from_source):
                    ready.put(item)
                elif self._is_wanted(item) and self._admitted(item):
                    items.append(item)
        return items

    def _is_wanted(self, item: Item) -> bool:
        """Not what belongs to an owner that is no more; while stopping only calls, whose callers wait."""
        return item.shift is None or (item.shift.on and not self.stopping)

    def _admitted(self, item: Item) -> bool:
        """Whether an item may run; with an open circuit it is held back without burning an attempt."""
        circuit = self._circuits[item.handler.name]
        if circuit is CLOSED or circuit.state == "closed" or item.row is not None or item.answer is not None:
            return True
        if circuit.may_probe(self._around.seams.clock.monotonic()):
            self._set_circuit(item.handler, circuit.when_probed())
            return True
        now = self._around.seams.clock.now().timestamp()
        cause = Cause("CircuitOpen", f"{item.handler.name} is paused: {circuit.error}", "")
        item.home.park(item, Parked("retrying", item.attempts, now, cause))
        return False

    async def _attempt(self, worker: Worker, item: Item) -> None:
        """Run a handler outside any transaction; offer what it recorded."""
        incoming = self._incoming(item)
        if incoming is not None:
            await self._record(worker, (item,), (incoming,))

    async def _attempt_batch(self, worker: Worker, first: Item) -> None:
        """Run a batch handler on all that is ready; what cannot be decoded fails alone."""
        pairs = [(item, incoming) for item in self._gathered(first) if (incoming := self._incoming(item)) is not None]
        if pairs:
            items, incomings = zip(*pairs, strict=True)
            await self._record(worker, items, incomings)

    async def _record(self, worker: Worker, items: tuple[Item, ...], incoming: Sequence[Incoming]) -> None:
        leader = items[0]
        try:
            run = leader.handler.run
            running = run(incoming) if run is not None else self._in_thread(worker, leader.handler, incoming)
            record = await self._timed(worker, items, running, begins=run is not None)
        except Refused as refused:
            refusal = self._refusal(items, refused)
            if refusal is None:
                return
            record = refusal
        except Unfinished as unfinished:
            self._failed_together(items, unfinished.error)
            return
        if self._circuits[leader.handler.name] is not CLOSED:
            await self._succeeded(leader)
        done = Done(record)
        for item in items:
            item.outcome = done
        if len(items) > 1:
            leader.others = items[1:]
        if self._before_offer is not None and record.messages:
            try:
                with suppress(StorageUnavailable):
                    await self._before_offer(leader)
            except Overloaded as error:
                self.failed(leader, error)
                return
        self._committer.offer(leader)

    def _in_thread(self, worker: Worker, handler: Handler, incoming: Sequence[Incoming]) -> Awaitable[Record]:
        """Run a `def` handler in a thread. Its time runs from when it has one."""
        blocking = handler.run_blocking
        assert blocking is not None, "a handler that records has exactly one way to run"

        def body() -> Record:
            self._begins(worker)
            return blocking(incoming)

        return self._threads.hurry(body)

    def _refusal(self, items: Sequence[Item], refused: Refused) -> Record | None:
        """What is applied in place of a refused message's record, or None after it has failed: its event is none."""
        try:
            return Record(messages=[outgoing(refused.event)], answer=refused)
        except ContractError as error:
            self._failed_together(items, error)
            return None

    async def _timed(self, worker: Worker, items: Sequence[Item], run: Awaitable[T], *, begins: bool = True) -> T:
        """Await a handler under its time-out. Raises Refused, or Unfinished with what the handler raised.

        Unless it `begins` at once, whoever runs it calls `_begins`: waiting for the database is not its time.
        """
        worker.items = items
        if begins:
            self._begins(worker)
        try:
            return await run
        except (Refused, KeyboardInterrupt):
            raise
        except GeneratorExit as error:
            if not is_running_loop():  # not the handler's: the interpreter throws this coroutine away
                raise
            raise Unfinished(error) from None
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its attempt's failure
            raise Unfinished(error) from None
        finally:
            worker.deadline = NEVER
            if worker.is_given_up:
                raise GivenUp
            if worker.cancels or worker.task.cancelling():
                raise_cancelled(worker)

    def _begins(self, worker: Worker) -> None:
        """The handler's time runs from now."""
        worker.deadline = self._around.seams.clock.monotonic() + worker.items[0].handler.timeout_seconds

    def _incoming(self, item: Item) -> Incoming | None:
        """The message decoded in its declared type, or None after it has failed."""
        received = item.received
        if received.problem is not None:
            self.failed(item, Undecodable(received.problem))
            return None
        try:
            message = item.handler.decode(received.envelope.type, received.body)
        except Exception as error:  # noqa: BLE001 - an upcaster is user code; its failure is the message's
            self.failed(item, error)
            return None
        return Incoming(message, received.envelope, item.attempts + 1, item.should_stop)

    async def _watch(self, pause: float) -> None:
        """Cancel what runs beyond its deadline."""
        clock = self._around.seams.clock
        while True:
            await clock.sleep(pause)
            now = clock.monotonic()
            for worker in list(self._workers):
                if now > worker.deadline:
                    for item in worker.items:
                        item.stopping = True
                    worker.deadline = now + min(_CANCEL_AGAIN_SECONDS, worker.items[0].handler.timeout_seconds)
                    worker.cancels += 1
                    worker.task.cancel()
                    if worker.cancels > _CANCELS_MAX and worker.items[0].handler.mode != "tx":
                        self._give_up(worker)

    def _give_up(self, worker: Worker) -> None:
        """Leave a handler behind that swallows every cancellation: its attempt has failed, its worker does no more."""
        worker.is_given_up = True
        worker.deadline = NEVER
        self.running -= 1
        self._workers.remove(worker)
        handler = worker.items[0].handler
        late = (
            f"{handler.name} ran longer than its timeout_seconds={handler.timeout_seconds:g} and swallows cancellation"
        )
        self._failed_together(worker.items, HandlerTimeout(late))

    # --- transactions ---------------------------------------------------------------------------------------------

    async def _attempt_tx(self, worker: Worker, item: Item) -> None:
        """Run a handler inside its own transaction: fence and inbox before it, what it publishes after it."""
        incoming = self._incoming(item)
        if incoming is None:
            return
        body = partial(self._transact, worker, item, (incoming,))
        try:
            if item.refusals >= 0:
                await self._committer.rehearse(item)
            await self._committer.exclusively(item, body)
        except Refused as refused:
            refusal = self._refusal((item,), refused)
            if refusal is not None:
                item.outcome = Done(refusal)
                await self._succeeded(item)
                self._committer.offer(item)
        except Unfinished as unfinished:
            item.refusals += isinstance(unfinished.error, StorageUnavailable) and not unfinished.error.is_of_ours
            await self._unfinished_tx(item, unfinished.error)
        except (Fenced, StorageUnavailable, OutcomeUnknown) as trouble:
            await self._unfinished_tx(item, trouble)
        else:
            await self._succeeded(item)

    async def _unfinished_tx(self, item: Item, error: BaseException) -> None:
        """Nothing was committed: because of the owner, of the database, or of the handler's own doing."""
        if isinstance(error, Fenced | OutcomeUnknown) and item.shift is not None:
            item.shift.end()
        elif not isinstance(error, StorageUnavailable):
            self.failed(item, error)
        elif is_to_blame((item,), item.refusals):
            item.refusals = -1
            self.failed(item, refused_alone(item, error))
        else:
            name = f"{item.handler.service}.{item.handler.name}"
            self._tell(StorageTrouble(text_of(error), _TROUBLE_SECONDS, name))
            await self._around.seams.clock.sleep(_TROUBLE_SECONDS)
            self._lanes.ready[item.handler.name].put(item)

    async def _transact(self, worker: Worker, item: Item, incoming: Sequence[Incoming], fences: Sequence[Fence]) -> int:
        handler, opening = item.handler, opening_of(fences)
        item.outcome = Done(Record())
        before = partial(self._before_handler, item=item, fences=fences, opening=opening)
        if handler.run_tx is not None:
            return await self._timed(worker, (item,), self._awaited(worker, incoming, before, opening), begins=False)
        blocking = self._around.store.blocking(partial(self._blocked, worker, incoming, before), opening)
        return await self._timed(worker, (item,), blocking, begins=False)

    async def _awaited(
        self, worker: Worker, incoming: Sequence[Incoming], before: Before, opening: Opening | None
    ) -> int:
        item = worker.items[0]
        async with self._around.store.transaction(opening) as sql:
            if not await before(sql):
                return 0
            self._begins(worker)
            item.outcome = Done(await item.handler.run_tx(incoming, sql))  # type: ignore[misc]
            return await self._after_handler(sql, item)

    def _blocked(self, worker: Worker, incoming: Sequence[Incoming], before: Before, sql: Sql) -> int:
        item = worker.items[0]
        if not run_sync(before(sql)):
            return 0
        self._begins(worker)
        item.outcome = Done(item.handler.run_blocking_tx(incoming, sql))  # type: ignore[misc]
        return run_sync(self._after_handler(sql, item))

    async def _before_handler(self, sql: Sql, item: Item, fences: Sequence[Fence], opening: Opening | None) -> bool:
        """Whether the handler is to run: its fence has held, and the inbox does not know its message."""
        now = self._around.seams.clock.now()
        await check_opening(sql, fences, opening, self._around.seams)
        await claim_inbox(sql, (item,), timestamp(now))
        await settle_rows(sql, (item,), now.timestamp())
        return item.result == "applied"

    async def _after_handler(self, sql: Sql, item: Item) -> int:
        records = [(item, item.outcome.record)] if isinstance(item.outcome, Done) else []
        return await publish(sql, records, self._around.seams, timestamp(self._around.seams.clock.now()))

    # --- what became of it ----------------------------------------------------------------------------------------

    async def _succeeded(self, item: Item) -> None:
        handler = item.handler
        before = self._circuits[handler.name]
        if before is CLOSED:
            return
        self._circuits[handler.name] = CLOSED
        if before.state == "closed":
            return
        self._tell(CircuitChanged(handler.service, handler.name, "closed", ""))
        now = self._around.seams.clock.now().timestamp()
        release = ("release_handler", handler.service, handler.name, now)
        with suppress(StorageUnavailable, OutcomeUnknown):  # then they come back at their own time
            await self._around.store.write(lambda sql: sql.changed(*release))

    def _failed_together(self, items: Sequence[Item], error: BaseException) -> None:
        """A batch fails as one: its messages run again one by one, so that only the guilty one pays."""
        if len(items) == 1:
            self.failed(items[0], error)
            return
        for item in items:
            item.together = False
            item.others = ()
            self._lanes.ready[item.handler.name].put(item)

    def failed(self, item: Item, error: BaseException) -> None:
        """An attempt failed, or its record could not be applied: decide what happens to the message."""
        if item.others or isinstance(error, TornBatch):
            self._failed_together((item, *item.others), error)
        elif item.answer is not None:
            if not item.answer.done():
                item.answer.set_exception(error)
            self._lanes.release(item.lane)
        else:
            rerouted = self._rerouted(item)
            item.home.park(item, rerouted or self._parked(item, error))

    def _rerouted(self, item: Item) -> Parked | None:
        """Where an unrouted message that is tried again goes, if handlers know its type by now."""
        if item.handler.name != UNROUTED or item.row is None:
            return None
        known = item.home.handlers_of(item.received.envelope.type)
        return Parked("rerouted", 0, 0.0, to=known) if known else None

    def _parked(self, item: Item, error: BaseException) -> Parked:
        clock, handler = self._around.seams.clock, item.handler
        now, before = clock.now().timestamp(), self._circuits[handler.name]
        if not isinstance(error, _NOT_COUNTED):
            after = before.after_failure(handler.circuit, item.lane[1], type(error).__name__, clock.monotonic())
            self._set_circuit(handler, after)
            if before.state != "closed":
                self._tell_failed(item, error, "circuit", after.pause_seconds)
                return Parked("retrying", item.attempts, now, cause_of(error))
        else:
            self._set_circuit(handler, self._unproved(handler))
        waited = now - item.since if item.since else 0.0
        chance = self._around.seams.random.random()
        step = next_step(handler.retry, error, attempts=item.attempts, waited_seconds=waited, chance=chance)
        if isinstance(step, Dead):
            self._tell_failed(item, error, "dead", 0.0)
            return Parked("dead", step.attempts, now, cause_of(error))
        self._tell_failed(item, error, "retrying", step.seconds)
        return Parked("retrying", step.attempts, now + step.seconds, cause_of(error))

    def _set_circuit(self, handler: Handler, state: CircuitState) -> None:
        before = self._circuits[handler.name]
        self._circuits[handler.name] = state
        if before.state != state.state:
            self._tell(CircuitChanged(handler.service, handler.name, state.state, state.error))

    def _tell_failed(self, item: Item, error: BaseException, step: Any, seconds: float) -> None:  # noqa: ANN401
        envelope, handler = item.received.envelope, item.handler
        text = f"{type(error).__name__}: {text_of(error)}"
        ids = (envelope.key, envelope.id, envelope.correlation_id)
        self._tell(HandlerFailed(handler.service, handler.name, *ids, item.attempts + 1, text, step, seconds))

    def _tell(self, observation: Observation) -> None:
        if self._around.probe is not None:
            self._around.probe.observe(observation)
