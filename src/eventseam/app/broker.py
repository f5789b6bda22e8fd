"""A broker as the bus: every service reads its topics, and positions, leases and the inbox are in its own database.

Handlers of one service that read channels with the same number of partitions are one reader, so that a key has one
slot in all of them; others are readers of their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from eventseam.app.arrival import Journal
from eventseam.app.bus import Part, internal, is_internal, moving_of, part_inside, public, rows_inside
from eventseam.app.capabilities import refuse_lacking, warn_of_lateness
from eventseam.app.service import Service
from eventseam.delivery.acks import as_log
from eventseam.errors import StorageError, StorageUnavailable, WiringError
from eventseam.journal.bus import counts_in, kept_in, note, note_of, on_broker, refuse_other_bus, start_relay
from eventseam.ports.cursors import settled, unsure
from eventseam.ports.transport import DEAD_LETTERS, Cursor, Layout

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Sequence

    from eventseam.app.app import App
    from eventseam.app.declare import Declaration
    from eventseam.delivery.handler import Handler
    from eventseam.ports.sql import Sql, Store
    from eventseam.ports.transport import Broker, LogSource, Received, Sink

Cursors = dict[int, tuple[str, "Cursor"]]
_NAME_MAX = 128


@dataclass(slots=True)
class _Reader:
    """The channels that one service reads with one number of partitions, and where it is: text and cursor by slot."""

    name: str
    service: Service[Any]
    slots: int
    channels: list[str]
    begins: Mapping[int, Cursor]


class BrokerBus:
    """See app.bus.Bus."""

    stores: tuple[Store, ...] = ()

    def __init__(self, broker: Broker) -> None:
        """Connect to nothing yet."""
        self._broker = broker
        self._layouts: Mapping[str, Layout] = {}
        self._reads: dict[str, frozenset[str]] = {}
        self._late: tuple[Store, Sequence[str]] | None = None
        self._kept: frozenset[str] = frozenset()

    async def open(self, own: Store, app: App, services: Iterable[Service[Any]]) -> None:
        """Connect, make channels that are not there, and the positions that readers begin with.

        A broker that is down holds up nobody who has been here before: messages wait in the journal.

        Raises WiringError or StorageError for what would lose order or messages, before anything is changed.
        """
        refuse_lacking(app.services, self._broker.capabilities)
        channels = public(app)
        _check_names(channels)
        try:
            self._layouts = await self._reached(channels)
        except StorageUnavailable:
            counts = counts_in(await note_of(own))
            if not counts.keys() >= set(channels):
                raise
            self._layouts = {channel: Layout(counts[channel]) for channel in channels}
            self._late = (own, channels)
        await refuse_other_bus(own, is_broker=True)
        readers = [each for service in services for each in await self._readers(own, service)]
        noted, kept = await self._check_growth(own), internal(app)
        self._kept = kept | kept_in(noted)
        moving, inside = moving_of(app), rows_inside(own, services)

        async def prepare(sql: Sql) -> None:
            await start_relay(sql, own.slots, moving)
            await self._note(sql, noted, kept)
            await sql.many("new_position", inside)
            for reader in readers:
                await self._place(sql, reader)

        await own.write(prepare)

    async def _reached(self, channels: Sequence[str]) -> Mapping[str, Layout]:
        """Connect, and make what is missing."""
        await self._broker.open()
        await self._broker.create(wanted(channels, self._broker.partitions))
        layouts = await self._broker.layouts(channels)
        _check_there(channels, layouts)
        return layouts

    async def catch_up(self) -> None:
        """Do what a broker that was down at the start has left undone. Raises StorageUnavailable until it is done."""
        if self._late is None:
            return
        own, channels = self._late
        self._layouts = await self._reached(channels)
        try:
            await self._check_growth(own)
        except StorageError as error:
            raise StorageUnavailable(str(error)) from error  # nothing is published before somebody has seen to it
        self._late = None

    async def _readers(self, own: Store, service: Service[Any]) -> list[_Reader]:
        """The readers of a service. For each that is new, or has a channel that is new to it: where that begins."""
        found: list[_Reader] = []
        for slots, channels in read_by(service, self._layouts).items():
            name = on_broker(service.name, slots)
            self._reads[name] = frozenset(channels)
            known = await cursors_of(own, name)
            if not known and not await own.ask("apart_cursors", [name]):
                warn_of_lateness(service, self._broker.capabilities)
            new = [each for each in channels if not any(_has(cursor, each) for _, cursor in known.values())]
            begins: Mapping[int, Cursor] = {}
            if new or not known:
                begins = await self._broker.begin(name, new or channels, slots, service.starts)
            found.append(_Reader(name, service, slots, channels, begins))
        return found

    async def _place(self, sql: Sql, reader: _Reader) -> None:
        """Make the rows of a reader that is new, or add the channels that are new to it."""
        known = {row[1]: row[2] for row in await sql.rows("apart_cursors", [reader.name])}
        if not known:
            texts = {slot: _text(reader.begins[slot]) if reader.begins else None for slot in range(reader.slots)}
            await sql.many("new_apart_position", [(reader.name, slot, text) for slot, text in texts.items()])
            await self._bring_along(sql, reader)
            return
        for slot, text in known.items():
            cursor: list[Any] = msgspec.json.decode(text) if text is not None else []
            added = [spot for spot in reader.begins.get(slot, ()) if not _has(cursor, spot[0])]
            if added:
                await sql.changed("widen_cursor", reader.name, slot, text, _text((*cursor, *added)))

    async def _bring_along(self, sql: Sql, reader: _Reader) -> None:
        """Give what is unsettled the slots that its keys have here: who reads them tries it again, in order."""
        await move_lanes(sql, self._broker, (reader.service, reader.channels), reader.slots)

    async def _check_growth(self, own: Store) -> str | None:
        """What is noted of how many partitions we have published to. Raises StorageError if that has changed."""
        text = await note_of(own)
        for channel, was in counts_in(text).items():
            layout = self._layouts.get(channel)
            if layout is not None and layout.partitions != was:
                raise StorageError(
                    f"channel {channel} had {was} partitions at the broker and has {layout.partitions} now: later "
                    "messages of a key lie in another one than its earlier ones, and could overtake them. Publish no "
                    f"more until every reader has read everything, then run: "
                    f"eventseam topology accept {channel} MODULE:FACTORY"
                )
        return text

    async def _note(self, sql: Sql, text: str | None, kept: frozenset[str]) -> None:
        """Note how many partitions the channels have that we publish to, beside the relay's position."""
        counts = {channel: layout.partitions for channel, layout in self._layouts.items()}
        await note(sql, text, counts, kept)

    def parts(self, service: str, handlers: Sequence[Handler], unrouted: Handler, own: LogSource) -> list[Part]:
        """See app.bus.Bus."""
        groups: defaultdict[int, list[Handler]] = defaultdict(list)
        for each in handlers:
            if not is_internal(each):
                groups[self._slots_of(each)].append(each)
        parts = part_inside(service, handlers, unrouted, own)
        for slots, those in groups.items():
            channels = sorted({kind.channel.name for each in those for kind in each.takes.values()})
            name = on_broker(service, slots)
            parts.append(Part(name, (*those, unrouted), as_log(self._broker.source(name, channels, slots))))
        return parts

    def _slots_of(self, handler: Handler) -> int:
        """In how many partitions the channels of a handler are. Raises WiringError if they differ."""
        counts = {kind.channel.name: self._layouts[kind.channel.name].partitions for kind in handler.takes.values()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{channel} has {count}" for channel, count in sorted(counts.items()))
            raise WiringError(
                f"{handler.service}.{handler.name} takes messages of channels with different numbers of partitions "
                f"({told}): one key would have two places, and no order. Make it two handlers, or give the channels "
                "the same number."
            )
        return next(iter(counts.values()))

    @property
    def kept(self) -> frozenset[str]:
        """See app.bus.Bus."""
        return self._kept

    def sink(self) -> Sink:
        """See app.bus.Bus."""
        return _LateSink(self, self._broker.sink())

    def beside(self) -> list[Coroutine[Any, Any, None]]:
        """See app.bus.Bus: what is new wakes its readers by itself."""
        return []

    async def unfinished(self, own: Store, readers: Sequence[str]) -> list[str]:
        """See app.bus.Bus."""
        late: list[str] = []
        for reader in readers:
            channels = self._reads.get(reader, frozenset())
            at = {slot: narrowed(cursor, channels) for slot, (_, cursor) in (await cursors_of(own, reader)).items()}
            is_unsure = any(unsure(cursor, channels) for cursor in at.values())
            if is_unsure or any((await self._broker.behind(at)).values()):
                late.append(reader)
        return late

    def journals(self, own: Store, app: App, service: Service[Any]) -> list[Journal]:
        """See app.bus.Bus: the publisher's journal has a message, the service's inbox who has taken it."""
        takes: Counter[str] = Counter()
        for each in service.declarations:
            if not each.inline:
                takes.update({wire for known in each.types for wire in app.registry.wires_for(known)})
        return [Journal(own, frozenset(public(app)), takes.__getitem__), Journal(own, internal(app))]

    async def close(self) -> None:
        """See app.bus.Bus."""
        await self._broker.close()


class _LateSink:
    """See ports.transport.Sink: nothing is published before the broker was seen to be as it was."""

    def __init__(self, bus: BrokerBus, sink: Sink) -> None:
        self._bus = bus
        self._sink = sink

    async def publish(self, batch: Sequence[Received]) -> None:
        await self._bus.catch_up()
        await self._sink.publish(batch)


async def stands(broker: Broker, reader: str, cursors: Cursors, channels: Collection[str]) -> Mapping[int, Cursor]:
    """Where a reader goes on in channels that it reads, for each slot, also if it has still to find that out."""
    at = {slot: narrowed(cursor, channels) for slot, (_, cursor) in cursors.items()}
    unknown = {channel for cursor in at.values() for channel in unsure(cursor, channels)}
    if not unknown:
        return at
    oldest = await broker.begin(reader, unknown, len(at), "beginning")
    return {page.slot: page.end for page in settled(at, oldest)}


async def cursors_of(own: Store, reader: str) -> Cursors:
    """A reader's cursors of a log apart, as they are kept: as text, and as they were written."""
    rows = await own.ask("apart_cursors", [reader])
    return {slot: (text, tuple(map(tuple, msgspec.json.decode(text)))) for _, slot, text, _ in rows if text is not None}


def wanted(channels: Sequence[str], partitions: int) -> dict[str, int]:
    """Channels, and those of their dead letters, with as many partitions as they get if they are not there."""
    return dict.fromkeys(channels, partitions) | {f"{channel}{DEAD_LETTERS}": 1 for channel in channels}


def narrowed(cursor: Cursor, channels: Collection[str]) -> Cursor:
    """What a cursor says of channels that are still read there: it keeps the places of those that are not."""
    return tuple(spot for spot in cursor if spot[0] in channels)


def read_by(service: Service[Any], layouts: Mapping[str, Layout]) -> Mapping[int, list[str]]:
    """The channels that a service reads at a broker, of those that are there, by their number of partitions."""
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for channel in sorted({known.channel.name for known in service.message_types() if not known.channel.internal}):
        if channel in layouts:
            groups[layouts[channel].partitions].append(channel)
    return groups


async def move_lanes(sql: Sql, broker: Broker, what: tuple[Service[Any], Collection[str]], slots: int) -> None:
    """Give what a service has unsettled of some channels the slots that its keys have in so many partitions."""
    service, channels = what
    those = sorted({each.name for each in service.declarations if _takes_of(each, channels)})
    for lane, slot in await sql.rows("lanes_elsewhere", service.name, those):
        here = broker.slot_of(lane, slots)
        if here != slot:
            await sql.changed("move_lane", service.name, lane, those, here)


def _takes_of(declaration: Declaration, channels: Collection[str]) -> bool:
    return any(known.channel.name in channels for known in declaration.types)


def _has(cursor: Iterable[Any], channel: str) -> bool:
    return any(spot[0] == channel for spot in cursor)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _check_there(channels: Sequence[str], layouts: Mapping[str, Layout]) -> None:
    """Raise StorageUnavailable for channels that the broker does not show after they were made."""
    missing = [channel for channel in channels if channel not in layouts]
    if missing:
        raise StorageUnavailable(
            f"channel {missing[0]} was made at the broker, which does not show it yet. Start again, or look "
            "there with: eventseam topology plan"
        )


def _check_names(channels: Iterable[str]) -> None:
    """Raise WiringError for channels that no broker, or not ours, can have."""
    for channel in channels:
        if channel.endswith(DEAD_LETTERS) or len(channel) + len(DEAD_LETTERS) > _NAME_MAX:
            raise WiringError(
                f"Channel({channel!r}): with a broker its name must not end in {DEAD_LETTERS!r} and have at most "
                f"{_NAME_MAX - len(DEAD_LETTERS)} characters, since its dead letters go to the channel behind it."
            )
