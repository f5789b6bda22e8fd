"""The app: services, wired to a database and to each other. The composition root.

It starts nothing when it is made, keeps no global state, and may be made again after it ended. Wiring errors are raised
when it is made or started, never once per message.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from eventseam.app.arrival import Awaited, Journal
from eventseam.app.describe import described
from eventseam.app.retention import sweep
from eventseam.app.room import EngineRoom, open_room
from eventseam.app.runners import finish
from eventseam.app.settings import Settings
from eventseam.app.wiring import check_services
from eventseam.clock import Seams
from eventseam.contracts.envelope import Envelope
from eventseam.contracts.registry import Registry
from eventseam.delivery.handler import Outgoing, outgoing
from eventseam.errors import EventseamError, OutcomeUnknown, StorageUnavailable, WiringError
from eventseam.journal.append import Origin, append, rows_for, timestamp, trace_of
from eventseam.ports.transport import Received

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
    from uuid import UUID

    from eventseam.app.decorators import AsyncCommandHandler, BlockingCommandHandler
    from eventseam.app.handlers import Bench
    from eventseam.app.service import Service
    from eventseam.app.tx import Tx
    from eventseam.ports.probe import Probe

M = TypeVar("M")
R = TypeVar("R")
D = TypeVar("D")

_SWEEP_EVERY_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.01


class App:
    """Services that run together. One process may run all of them, or `only` some; they meet in the journal.

    Raises WiringError for what does not fit together. `settings` default to the EVENTSEAM_* variables.
    """

    def __init__(
        self,
        *services: Service[Any],
        settings: Settings | None = None,
        seams: Seams | None = None,
        probe: Probe | None = None,
    ) -> None:
        """Wire the services; nothing is opened before `running`."""
        if not services:
            raise WiringError("App() has no services. Pass at least one: App(orders)")
        check_services(services)
        self.services = services
        self.settings = settings or Settings.from_env()
        self.seams = seams or Seams()
        self.probe = probe
        self.registry = Registry(_types(services))
        self._room: EngineRoom | None = None

    @asynccontextmanager
    async def running(self, only: Iterable[str] | None = None) -> AsyncGenerator[App]:
        """Run the engine inside the block; at its end stop gracefully: finish what runs, settle nothing unfinished.

        Raises SettingsError, StorageError, WiringError at start; afterwards what the block raises, as it is. An error
        of the engine itself cancels the block and is raised in an ExceptionGroup.
        """
        if self._room is not None:
            raise EventseamError("this app is running already. Make another App for a second engine")
        async with AsyncExitStack() as stack:
            room = await open_room(self, self._chosen(only), stack)
            self._room = room
            stack.callback(self._forget)
            raised: BaseException | None = None
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each) for each in (*room.beside(), self._sweep(room))]
                engines = [group.create_task(engine.run()) for engine in room.engines.values()]
                try:
                    yield self
                except BaseException as error:  # noqa: BLE001 - raised again below, outside of the group that would wrap it
                    raised = error
                await self._stop(room, engines)
                for task in tasks:
                    task.cancel()
            if raised is not None:
                raise raised

    @asynccontextmanager
    async def lifespan(self, web_app: object = None) -> AsyncGenerator[None]:  # noqa: ARG002 - what ASGI frameworks call
        """`FastAPI(lifespan=shop.lifespan)`: the engine runs inside the web process."""
        async with self.running():
            yield

    async def run(self, only: Iterable[str] | None = None) -> None:
        """Run until cancelled, then stop gracefully."""
        async with self.running(only):
            await asyncio.get_running_loop().create_future()

    @overload
    async def call(self, handler: AsyncCommandHandler[M, R], command: M) -> R: ...
    @overload
    async def call(self, handler: BlockingCommandHandler[M, R], command: M) -> R: ...
    async def call(self, handler: Callable[..., Any], command: Any) -> Any:
        """Run a command now and return its handler's answer: committed when this returns; events follow.

        Raises what the handler raises (nothing is retried), Refused, LaneParked, Overloaded, OutcomeUnknown.
        """
        room = self._started()
        service, name = self._handler_of(handler)
        made = outgoing(command)
        engine = room.engine_of(service, name)
        if engine is None:
            raise WiringError(f"{service} does not run in this process. Add it to only=, or send the command instead")
        return await engine.call(name, self._called(made))

    async def publish(self, service: Service[Any], *events: object) -> list[str]:
        """Append events in one transaction; their ids. Waits for limits, or raises Overloaded. ContractError as Ctx."""
        publisher = self._bench(service).publisher
        return await self._append(service, [publisher.event(event) for event in events])

    async def send(self, service: Service[Any], command: object) -> str:
        """Append a command; its id. Its handler runs later, with retries. Raises as `publish` does."""
        route = self._bench(service).publisher.command_route(command)
        return (await self._append(service, [outgoing(command, route.type)]))[0]

    @asynccontextmanager
    async def transaction(self, service: Service[D]) -> AsyncGenerator[Tx[D]]:
        """One transaction for code that is no handler: writes and messages commit together, or not at all."""
        room = self._started()
        bench = self._bench(service)
        async with room.store.transaction() as sql:
            tx, notes = bench.transaction(sql)
            try:
                yield tx
                record = await finish(notes)
            finally:
                notes.close()  # a tx that is kept must not write into somebody else's transaction
            await room.limits.demand((each.channel for each in record.messages), patiently=False)
            rows = rows_for(record.messages, Origin(service.name), self.seams, timestamp(self.seams.clock.now()))
            await append(sql, rows)
        room.wake()

    async def wait_idle(self, timeout_seconds: float = 30.0) -> None:
        """Return when everything published so far is handled, or dead or waiting behind something dead.

        A database in trouble is waited out, as the engines do. Raises TimeoutError after `timeout_seconds`, which says
        what is missing.
        """
        room = self._started()
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await _is_idle(room):
                    await self.seams.clock.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError:
            missing = "; ".join(await room.missing(self.seams.clock.now()))
            raise TimeoutError(f"not idle after {timeout_seconds:g} s: {missing}. See: eventseam lag") from None

    async def wait_for(self, service: Service[Any], *message_ids: str | UUID, timeout_seconds: float = 5.0) -> None:
        """Return when `service` has handled messages, so that what it wrote can be read: ids as `publish` gave them.

        Wherever the service runs. Call it soon after the commit: messages are looked for among the newest. Raises
        TimeoutError after `timeout_seconds`, which says what is missing or unsettled; 0 looks once.
        """
        room = self._started()
        if service.name not in {each.name for each in self.services}:
            raise WiringError(f"{service.name} is no service of this app. It has: {', '.join(self._names())}")
        journals = room.bus.journals(room.store, self, service) if room.bus else [Journal(room.store)]
        awaited = Awaited(journals, service.name, message_ids)
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await awaited.is_over(room.store):
                    await room.save(service.name)
                    await self.seams.clock.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError:
            if await awaited.is_over(room.store):  # time may have been up before a look had ended
                return
            missing = await awaited.missing(room.store)
            raise TimeoutError(f"{service.name} is not done after {timeout_seconds:g} s: {missing}") from None

    def _names(self) -> list[str]:
        return [service.name for service in self.services]

    def describe(self) -> dict[str, Any]:
        """What is wired, as plain data without secrets: services, handlers, messages, policies, settings."""
        return described(self.services, self.settings, self.registry)

    async def _append(self, service: Service[Any], made: Sequence[Outgoing]) -> list[str]:
        room = self._started()
        await room.limits.demand(each.channel for each in made)
        rows = rows_for(made, Origin(service.name), self.seams, timestamp(self.seams.clock.now()))
        await room.store.write(lambda sql: append(sql, rows))
        room.wake()
        return [str(row[5]) for row in rows]

    def _bench(self, service: Service[D]) -> Bench[D]:
        bench: Bench[D] | None = self._started().benches.get(service.name)
        if bench is None:
            raise WiringError(f"{service.name} does not run in this process. Add it to only=")
        return bench

    def _called(self, made: Outgoing) -> Received:
        message_id = self.seams.ids.new()
        envelope = Envelope(
            id=message_id,
            type=made.wire,
            source="call",
            channel=made.channel,
            key=made.key,
            time=self.seams.clock.now(),
            correlation_id=message_id,
            trace=trace_of(message_id),
            details=made.details,
        )
        return Received(0, envelope, made.body)

    def _chosen(self, only: Iterable[str] | None) -> Sequence[Service[Any]]:
        names = None if only is None else set(only)
        if names is None:
            return self.services
        unknown = sorted(names - {service.name for service in self.services})
        if unknown or not names:
            raise WiringError(f"only={unknown}: no such service. The app has: {', '.join(self._names())}")
        return [service for service in self.services if service.name in names]

    def _handler_of(self, function: Callable[..., Any]) -> tuple[str, str]:
        for service in self.services:
            for each in service.declarations:
                if each.function is function:
                    if each.kind != "command":
                        raise WiringError(f"{each.place} handles events. call() takes the handler of a command")
                    return service.name, each.name
        raise WiringError(f"{getattr(function, '__qualname__', function)} is no handler of this app's services")

    def _started(self) -> EngineRoom:
        if self._room is None:
            raise EventseamError("the app is not running. Write: async with app.running(): …")
        return self._room

    def _forget(self) -> None:
        self._room = None

    async def _stop(self, room: EngineRoom, engines: Sequence[asyncio.Task[None]]) -> None:
        """Finish what runs within the grace period; then end the engines, which gives up their ownership."""
        try:
            async with asyncio.timeout(self.settings.grace_seconds):
                await _together(engine.stop() for engine in room.engines.values())
                await room.committer.wait_idle()
                await _together(engine.save() for engine in room.engines.values())
        except (TimeoutError, StorageUnavailable, OutcomeUnknown):
            pass  # what is unfinished or unsaved is found again at the next start
        finally:
            for task in engines:
                task.cancel()
            if engines:  # a process that only publishes to a broker has none
                await asyncio.wait(engines)

    async def _sweep(self, room: EngineRoom) -> None:
        """Keep the journal, the inbox and the dead letters within their retention."""
        await sweep(room.stores(), self.settings, self.seams.clock, _SWEEP_EVERY_SECONDS)


def _types(services: Iterable[Service[Any]]) -> list[Any]:
    """All types of all channels that a handler listens to: what is declared there is known, handled or not."""
    return [kind for service in services for known in service.message_types() for kind in known.channel.types]


async def _together(operations: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for operation in operations:
            group.create_task(operation)


async def _is_idle(room: EngineRoom) -> bool:
    try:
        return await room.is_idle()
    except StorageUnavailable:
        return False
