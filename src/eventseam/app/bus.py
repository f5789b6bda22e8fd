"""Which engines a service has: one on its own journal, or with a transport one there and one on the bus, and the relay.

With a transport, internal channels stay in the service's own journal, and everything else goes by the bus, also to the
service itself: a message has one way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from eventseam.app.stores import open_bus, open_source
from eventseam.delivery.handler import Handler
from eventseam.delivery.relay import Relay
from eventseam.errors import WiringError
from eventseam.journal.bus import RELAY, BusMemory, Moving, on_bus, refuse_rings, start_relay
from eventseam.journal.source import Hint
from eventseam.journal.starts import Starts, register
from eventseam.ports.sql import Sql, Store
from eventseam.ports.transport import LogSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


@dataclass(frozen=True, slots=True)
class Bus:
    """The database in which services meet. `hint` wakes those of this process that read it."""

    store: Store
    hint: Hint

    async def open(self, own: Store, app: App, services: Iterable[Service[Any]]) -> None:
        """Make its tables, and the positions that its readers begin with.

        Raises WiringError for a bus from which messages would come back, StorageError for services that cannot leave
        the journal that they have read until now.
        """
        await self.store.migrate()
        await refuse_rings(own, self.store)
        here = [(on_bus(service.name), slot) for service in services for slot in range(self.store.slots)]
        inside = [(service.name, slot) for service in services if _hears_itself(service) for slot in range(own.slots)]
        moving = _moving(app)

        async def prepare(sql: Sql) -> None:
            await start_relay(sql, own.slots, moving)
            await sql.many("new_remote_position", here)
            await sql.many("new_position", inside)

        await own.write(prepare)
        await refuse_rings(own, self.store)  # one that began at the same time has made its relay by now
        listening: list[tuple[str, Starts]] = [(service.name, service.starts) for service in app.services]
        await self.store.write(lambda sql: register(sql, listening, self.store.slots))

    def parts(self, service: str, handlers: Sequence[Handler], unrouted: Handler, own: LogSource) -> list[Part]:
        """The service's handlers by what they read. Raises WiringError for one that would need both."""
        from eventseam.journal.snapshot import SnapshotSource

        inside = tuple(each for each in handlers if _is_internal(each))
        outside = tuple(each for each in handlers if each not in inside)
        source = SnapshotSource(self.store, self.hint, BusMemory(self.store, service))
        parts = [Part(on_bus(service), (*outside, unrouted), source)]
        return [*parts, Part(service, (*inside, unrouted), own)] if inside else parts

    def relay(self, own: Store, hint: Hint, app: App, around: Surroundings, options: EngineOptions) -> Relay:
        """The relay from a process's own journal: of every public channel that the app knows."""
        from eventseam.transports.postgres import PostgresSink

        relay = Relay(RELAY, open_source(own, hint), PostgresSink(self.store), around, options)
        relay.channels = _public(app)
        return relay


def bus_of(app: App) -> Bus | None:
    """The bus that an app's settings name, not opened yet; None where the journal is the bus."""
    store = open_bus(app.settings, app.seams)
    return None if store is None else Bus(store, Hint())


def _moving(app: App) -> Moving:
    """What leaves the journal for the bus, the first time that an app has one."""
    now = app.seams.clock.now()
    return Moving(
        services=frozenset(service.name for service in app.services),
        staying=frozenset(service.name for service in app.services if _hears_itself(service)),
        channels=_public(app),
        now=now,
        remembered=now - timedelta(hours=app.settings.inbox_hours),
    )


def _public(app: App) -> list[str]:
    """The channels that are relayed."""
    return sorted({known.channel.name for known in app.registry.types if not known.channel.internal})


def _hears_itself(service: Service[Any]) -> bool:
    """Whether a service listens to internal channels."""
    return any(known.channel.internal for known in service.message_types())


def _is_internal(handler: Handler) -> bool:
    """Whether a handler listens to internal channels. Raises WiringError if to others as well."""
    kinds = {kind.channel.internal for kind in handler.takes.values()}
    if len(kinds) > 1:
        raise WiringError(
            f"{handler.service}.{handler.name} takes messages of internal and of public channels. With a transport "
            "they come from two places and have no common order. Make it two handlers."
        )
    return kinds == {True}
