"""The engine room of a running app: its store, committer, engines and limits, opened in order and closed in reverse."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from eventseam.app.bus import Bus, Part, bus_of, relay_of
from eventseam.app.handlers import Bench
from eventseam.app.retention import check_inbox
from eventseam.app.stores import open_source, open_store
from eventseam.app.wiring import check_deps, foreign_channels
from eventseam.delivery.circuit import Circuit
from eventseam.delivery.committer import Committer, Surroundings
from eventseam.delivery.engine import Engine, Staff
from eventseam.delivery.handler import Handler
from eventseam.delivery.item import Done, Item
from eventseam.delivery.options import UNROUTED, EngineOptions
from eventseam.delivery.policy import Retry
from eventseam.delivery.relay import Relay
from eventseam.delivery.unsettled import count_unsettled
from eventseam.journal.bus import RELAY
from eventseam.journal.limits import Limits
from eventseam.journal.look import lag
from eventseam.journal.source import Hint
from eventseam.journal.starts import check_starts, register
from eventseam.ports.probe import Orphaned
from eventseam.ports.sql import Sql, Store

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from datetime import datetime

    from eventseam.app.app import App
    from eventseam.app.service import Service

_UNROUTED_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EngineRoom:
    """What runs while an app runs."""

    store: Store
    committer: Committer
    hint: Hint
    wake: Callable[[], None]
    limits: Limits
    engines: Mapping[str, Engine]
    benches: Mapping[str, Bench[Any]]
    handlers: Mapping[str, frozenset[str]]
    bus: Bus | None = None
    relay: Relay | None = None

    def engine_of(self, service: str, handler: str) -> Engine | None:
        """The engine that runs a handler here, or None."""
        return next((each for each in self.engines.values() if each.service == service and each.has(handler)), None)

    def beside(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs beside the engines until they have stopped."""
        running = [self.committer.run(), self.store.hear(self.hint.give)]
        if self.bus is not None and self.relay is not None:
            running += [self.relay.run(), *self.bus.beside()]
        return running

    def stores(self) -> tuple[Store, ...]:
        """The databases that are open: our own, then the bus."""
        return (self.store, *(self.bus.stores if self.bus else ()))

    async def is_idle(self) -> bool:
        """Whether every service has finished everything, and nothing is to be tried again.

        The database tells: a position is saved when what it passes is done. Ours are saved here if need be.
        """
        retrying = (await self.store.read(lambda sql: sql.rows("retrying_rows")))[0][0]
        busy = any(_owns(engine) and not engine.is_resting() for engine in self.engines.values())
        if retrying or busy or not self.committer.is_idle:
            return False
        for _ in range(2 if self.bus else 1):  # what one look at the bus sees may have come from behind our back
            if await self._is_behind():
                return False
        return True

    async def _is_behind(self) -> bool:
        """Whether a reader has not finished everything, as far as is saved; what can be saved here will be."""
        own: dict[str, Engine | Relay] = {name: each for name, each in self.engines.items() if name == each.service}
        if self.relay is not None:
            own[self.relay.name] = self.relay
        unfinished, retrying = await self.store.read(partial(_left, sorted(own)))
        for reader in unfinished:
            await own[reader].save()
        if self.bus is None:
            return retrying or bool(unfinished)
        others = {name: each for name, each in self.engines.items() if name != each.service}
        late = await self.bus.unfinished(self.store, sorted(others))
        for reader in late:
            await others[reader].save()
        return retrying or bool(unfinished) or bool(late)

    async def save(self, service: str) -> None:
        """Save a position that has moved past messages which nobody handles, if the service rests here."""
        for engine in self.engines.values():
            if engine.service == service and engine.is_resting():
                await engine.save()

    async def missing(self, now: datetime) -> list[str]:
        """What `is_idle` waits for, in words."""
        told: list[str] = []
        for each in await self.store.read(lambda sql: lag(sql, now)):
            engine = self.engines.get(each.service)
            owner = "" if engine is None or _owns(engine) else f" (its owner: {each.owner or 'nobody yet'})"
            if engine is not None and (each.behind_messages or (owner and each.owner is None)):
                told.append(f"{each.service} is behind by {each.behind_messages}{owner}")
        for row in await self.store.read(count_unsettled):
            if row.state == "retrying":
                gone = row.handler not in self.handlers.get(row.service, {row.handler})
                why = ", but the code has no such handler" if gone else ""
                told.append(f"{row.service}.{row.handler} has {row.count} to try again{why}")
        return told or ["what runs has not been committed"]

    async def throttle(self, item: Item) -> None:
        """Slow a handler that publishes beyond a limit; never stop it, since it may be what drains the channel.

        A caller that waits for the answer gets Overloaded instead.
        """
        if not isinstance(item.outcome, Done):
            return
        channels = sorted({message.channel for message in item.outcome.record.messages})
        if item.answer is not None:
            await self.limits.demand(channels)
            return
        for channel in channels:
            await self.limits.wait(channel)


async def open_room(app: App, services: Sequence[Service[Any]], stack: AsyncExitStack) -> EngineRoom:
    """Open what `services` of `app` need; `stack` closes it. Raises SettingsError, StorageError or WiringError."""
    check_inbox(app.settings, services)
    check_starts(((service.name, service.starts) for service in app.services), app.seams.clock.now())
    store = open_store(app.settings, app.seams, _tx_seconds(services))
    stack.push_async_callback(store.close)
    await store.migrate([tables for service in services if (tables := service.tables_on(store.dialect))])
    bus = bus_of(app)
    if bus is not None:
        stack.push_async_callback(bus.close)
        await bus.open(store, app, services)
    else:
        await store.write(lambda sql: _register(sql, app.services, store.slots))
    hint = Hint()
    around = Surroundings(store, app.seams, app.probe, hint.tell(store.announce), app.settings.batch_max)
    committer = Committer(around)

    def readers(channel: str) -> set[str]:
        return {RELAY} if bus else _readers(app, channel)

    limits = Limits(store, app.seams.clock, _limits(app), readers)
    benches: dict[str, Bench[Any]] = {}
    engines: dict[str, Engine] = {}
    handlers: dict[str, frozenset[str]] = {}
    lease = EngineOptions(app.settings.lease_seconds)
    relay = relay_of(bus, open_source(store, hint), around, lease) if bus else None
    room = EngineRoom(store, committer, hint, around.wake, limits, engines, benches, handlers, bus, relay)
    known = frozenset(known.wire for known in app.registry.types)
    for service in services:
        deps = await stack.enter_async_context(service.deps_factory()) if service.deps_factory else None
        check_deps(service, deps)
        bench = Bench(service, app.seams, deps, foreign_channels(app.services, service), store.dialect)
        wired, rest, source = bench.handlers(app.registry), unrouted(service.name, app), open_source(store, hint)
        parts = [Part(service.name, (*wired, rest), source)]
        if bus is not None:
            parts = bus.parts(service.name, wired, rest, source)
        for part in parts:
            staff = Staff(part.handlers, known, part.reader)
            engine = Engine(staff, part.source, committer, around, _options(app, service))
            if _limits(app):
                engine.throttle(room.throttle)
            engines[part.reader] = engine
        benches[service.name] = bench
        handlers[service.name] = frozenset((*(each.name for each in wired), UNROUTED))
    if app.probe is not None:
        for orphan in await _orphans(room):
            app.probe.observe(orphan)
    return room


async def _orphans(room: EngineRoom) -> list[Orphaned]:
    """Whose unsettled messages nothing will try: handlers that were renamed or removed."""
    counts: dict[tuple[str, str], int] = {}
    for row in await room.store.read(count_unsettled):
        if row.service in room.handlers and row.handler not in room.handlers[row.service]:
            counts[row.service, row.handler] = counts.get((row.service, row.handler), 0) + row.count
    return [Orphaned(service, handler, count) for (service, handler), count in counts.items()]


def _tx_seconds(services: Iterable[Service[Any]]) -> float:
    """How long the slowest handler may keep its transaction."""
    declared = (each for service in services for each in service.declarations if each.mode == "tx")
    return max((each.options.timeout_seconds for each in declared), default=0.0)


async def _left(readers: list[str], sql: Sql) -> tuple[list[str], bool]:
    """Which readers have not finished everything, and whether anything is to be tried again: of one snapshot.

    Between two, the last message of a reader can fail, and its retry can publish another one.
    """
    unfinished = [row[0] for row in await sql.rows("unfinished", readers)]
    return unfinished, bool((await sql.rows("retrying_rows"))[0][0])


def _owns(engine: Engine) -> bool:
    return engine.shift is not None and engine.shift.on


async def _register(sql: Sql, services: Iterable[Service[Any]], slots: int) -> None:
    """Give every service of a journal a position, running or not: what it has not seen must not be trimmed."""
    await register(sql, [(service.name, service.starts) for service in services], slots)


def unrouted(service: str, app: App) -> Handler:
    """The handler of messages that nothing in the app knows: it cannot decode them, so they become dead letters."""
    return Handler(
        service=service,
        name=UNROUTED,
        mode="record",
        takes={},
        decode=app.registry.decode,
        retry=Retry(),
        circuit=Circuit(),
        timeout_seconds=_UNROUTED_TIMEOUT_SECONDS,
        run_blocking=lambda _: None,  # type: ignore[arg-type,return-value]  # never runs: decoding has failed before
    )


def _options(app: App, service: Service[Any]) -> EngineOptions:
    settings = app.settings
    return EngineOptions(
        lease_seconds=settings.lease_seconds,
        in_flight_max=settings.in_flight_max,
        workers=settings.workers,
        threads_max=service.threads_max,
        parked_lanes_max=settings.parked_lanes_max,
        grace_seconds=settings.grace_seconds,
    )


def _limits(app: App) -> dict[str, Any]:
    channels = {known.channel.name: known.channel.limit for known in app.registry.types}
    return {name: limit for name, limit in channels.items() if limit is not None}


def _readers(app: App, channel: str) -> set[str]:
    """The services that listen to a channel."""
    return {each.name for each in app.services if any(known.channel.name == channel for known in each.message_types())}
