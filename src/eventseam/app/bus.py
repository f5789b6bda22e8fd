"""Which engines a service has: one on its own journal, or with a transport one there and others on the bus; the relay.

With a transport, internal channels stay in the service's own journal, and everything else goes by the bus, also to the
service itself: a message has one way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from eventseam.app.arrival import Journal
from eventseam.app.stores import open_broker, open_database
from eventseam.delivery.handler import Handler
from eventseam.delivery.relay import Relay
from eventseam.errors import WiringError
from eventseam.journal.bus import (
    ON_BUS,
    RELAY,
    BusMemory,
    Moving,
    kept_in,
    note,
    note_of,
    on_bus,
    refuse_other_bus,
    refuse_rings,
    start_relay,
)
from eventseam.journal.source import Hint
from eventseam.journal.starts import register
from eventseam.ports.sql import Sql, Store
from eventseam.ports.transport import DEAD_LETTERS, LogSource, Sink, Starts
from eventseam.ports.wire import Style

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from eventseam.app.app import App
    from eventseam.app.service import Service
    from eventseam.delivery.committer import Surroundings
    from eventseam.delivery.options import EngineOptions


@dataclass(frozen=True, slots=True)
class Part:
    """The handlers of one service that read one source."""

    reader: str
    handlers: tuple[Handler, ...]
    source: LogSource


class Bus(Protocol):
    """Where services meet, if that is not their own journal."""

    @property
    def stores(self) -> tuple[Store, ...]:
        """The databases that it keeps open, beside the services' own."""
        ...

    async def open(self, own: Store, app: App, services: Iterable[Service[Any]]) -> None:
        """Connect, and make what its readers begin with. Raises WiringError or StorageError."""
        ...

    def parts(self, service: str, handlers: Sequence[Handler], unrouted: Handler, own: LogSource) -> list[Part]:
        """The service's handlers by what they read. Raises WiringError for one that would need two sources."""
        ...

    @property
    def kept(self) -> frozenset[str]:
        """The channels that never leave the journal: domain events of this app, and of others on the same database."""
        ...

    def sink(self) -> Sink:
        """Where the relay publishes."""
        ...

    def beside(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the engines."""
        ...

    async def unfinished(self, own: Store, readers: Sequence[str]) -> list[str]:
        """Those of `readers` that have not finished everything, as far as is saved."""
        ...

    def journals(self, own: Store, app: App, service: Service[Any]) -> list[Journal]:
        """Where to look for messages whose handling by a service somebody awaits."""
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...


@dataclass(slots=True)
class DatabaseBus:
    """A PostgreSQL database in which services meet. `hint` wakes those of this process that read it. See Bus."""

    store: Store
    hint: Hint
    kept: frozenset[str] = frozenset()

    @property
    def stores(self) -> tuple[Store, ...]:
        """See Bus."""
        return (self.store,)

    async def open(self, own: Store, app: App, services: Iterable[Service[Any]]) -> None:
        """See Bus. Raises WiringError for a bus from which messages would come back.

        Raises StorageError for services that cannot leave the journal that they have read until now.
        """
        await self.store.migrate()
        await refuse_rings(own, self.store)
        await refuse_other_bus(own, is_broker=False)
        here = [(on_bus(service.name), slot) for service in services for slot in range(self.store.slots)]
        moving, inside = moving_of(app), rows_inside(own, services)
        noted = await note_of(own)
        self.kept = internal(app) | kept_in(noted)

        async def prepare(sql: Sql) -> None:
            await start_relay(sql, own.slots, moving)
            await note(sql, noted, {}, internal(app))
            await sql.many("new_remote_position", here)
            await sql.many("new_position", inside)

        await own.write(prepare)
        await refuse_rings(own, self.store)  # one that began at the same time has made its relay by now
        listening: list[tuple[str, Starts]] = [(service.name, service.starts) for service in app.services]
        await self.store.write(lambda sql: register(sql, listening, self.store.slots))

    def parts(self, service: str, handlers: Sequence[Handler], unrouted: Handler, own: LogSource) -> list[Part]:
        """See Bus."""
        from eventseam.journal.snapshot import SnapshotSource

        outside = tuple(each for each in handlers if not is_internal(each))
        source = SnapshotSource(self.store, self.hint, BusMemory(self.store, service))
        return [Part(on_bus(service), (*outside, unrouted), source), *part_inside(service, handlers, unrouted, own)]

    def sink(self) -> Sink:
        """See Bus."""
        from eventseam.transports.postgres import PostgresSink

        return PostgresSink(self.store)

    def beside(self) -> list[Coroutine[Any, Any, None]]:
        """See Bus: who is told that the bus has grown looks at once."""
        return [self.store.hear(self.hint.give)]

    async def unfinished(self, own: Store, readers: Sequence[str]) -> list[str]:  # noqa: ARG002 - positions are in the bus
        """See Bus."""
        names = {reader.removesuffix(ON_BUS): reader for reader in readers}
        rows = await self.store.read(lambda sql: sql.rows("unfinished", sorted(names)))
        return [names[row[0]] for row in rows]

    def journals(self, own: Store, app: App, service: Service[Any]) -> list[Journal]:  # noqa: ARG002 - any service
        """See Bus."""
        return [Journal(self.store), Journal(own, internal(app))]

    async def close(self) -> None:
        """See Bus."""
        await self.store.close()


def bus_of(app: App) -> Bus | None:
    """The bus that an app's settings name, not opened yet; None where the journal is the bus."""
    url = app.settings.transport_url
    if url.startswith("journal:"):
        return None
    if url.startswith(("postgresql:", "postgres:")):
        return DatabaseBus(open_database(url, app.settings, app.seams), Hint())
    from eventseam.app.broker import BrokerBus

    styles = {known.channel.name: Style(known.channel.mode, known.channel.plain) for known in app.registry.types}
    styles |= {f"{name}{DEAD_LETTERS}": Style(style.mode) for name, style in styles.items()}
    return BrokerBus(open_broker(app.settings, app.seams, styles))


def relay_of(bus: Bus, own: LogSource, around: Surroundings, options: EngineOptions) -> Relay:
    """The relay from a process's own journal: of every channel but those that the app knows as internal."""
    relay = Relay(RELAY, own, bus.sink(), around, options)
    relay.kept = bus.kept
    return relay


def part_inside(service: str, handlers: Sequence[Handler], unrouted: Handler, own: LogSource) -> list[Part]:
    """What a service reads of its own journal all the same: internal channels, if it listens to any."""
    inside = tuple(each for each in handlers if is_internal(each))
    return [Part(service, (*inside, unrouted), own)] if inside else []


def rows_inside(own: Store, services: Iterable[Service[Any]]) -> list[tuple[str, int]]:
    """Reader and slot of every position on its own journal that a service with a bus has."""
    return [(service.name, slot) for service in services if _hears_itself(service) for slot in range(own.slots)]


def moving_of(app: App) -> Moving:
    """What leaves the journal for the bus, the first time that an app has one."""
    now = app.seams.clock.now()
    return Moving(
        services=frozenset(service.name for service in app.services),
        staying=frozenset(service.name for service in app.services if _hears_itself(service)),
        channels=public(app),
        now=now,
        remembered=now - timedelta(hours=app.settings.inbox_hours),
    )


def internal(app: App) -> frozenset[str]:
    """The channels that never leave their service."""
    return frozenset(known.channel.name for known in app.registry.types if known.channel.internal)


def public(app: App) -> list[str]:
    """The channels that are relayed."""
    return sorted({known.channel.name for known in app.registry.types if not known.channel.internal})


def _hears_itself(service: Service[Any]) -> bool:
    """Whether a service listens to internal channels."""
    return any(known.channel.internal for known in service.message_types())


def is_internal(handler: Handler) -> bool:
    """Whether a handler listens to internal channels. Raises WiringError if to others as well."""
    kinds = {kind.channel.internal for kind in handler.takes.values()}
    if len(kinds) > 1:
        raise WiringError(
            f"{handler.service}.{handler.name} takes messages of internal and of public channels. With a transport "
            "they come from two places and have no common order. Make it two handlers."
        )
    return kinds == {True}
