"""A broker in memory, for tests and simulation: one server, many clients, and profiles that imitate real brokers.

Nothing outlives the process. What is published goes over the wire: headers and bytes, never a reference. Order, loss,
repeats and time come from the seams and from what a test tells the server to do, so that one seed gives one run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from eventseam.errors import ContractError, StorageError, StorageUnavailable, TooLarge
from eventseam.ports.cursors import behind, lost, position_of
from eventseam.ports.transport import Layout, Page, Received
from eventseam.ports.wire import Place, Style, inward, outward
from eventseam.transports.memory_server import (
    ENVELOPE_BYTES_MAX,
    PREFETCH_MAX,
    PROFILES,
    MemoryServer,
    Profile,
    Row,
    slot_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from eventseam.ports.transport import Cursor, Starts
    from eventseam.transports.memory_server import Channel, Delivery, Kept, Partition, Queue

__all__ = [
    "PROFILES",
    "MemoryBroker",
    "MemoryLogSource",
    "MemoryQueueSource",
    "MemoryServer",
    "MemorySink",
    "Profile",
    "connect",
]


def connect(server: MemoryServer, styles: Mapping[str, Style] | None = None) -> MemoryBroker:
    """A client that is not open yet; `styles` says how each channel's messages travel."""
    return MemoryBroker(server, styles)


class MemoryBroker:
    """See ports.transport.Broker. One client of a server."""

    def __init__(self, server: MemoryServer, styles: Mapping[str, Style] | None = None) -> None:
        """Connect to nothing yet."""
        self.server = server
        self.capabilities = server.profile.capabilities
        self.partitions = server.partitions
        self._styles = styles or {}
        self._is_cut = False
        self._queues: list[MemoryQueueSource] = []

    def style(self, channel: str) -> Style:
        """How a channel's messages travel."""
        return self._styles.get(channel) or Style()

    def slot_of(self, key: str, slots: int) -> int:
        """See ports.transport.Broker."""
        return slot_of(key.encode(), slots)

    async def open(self) -> None:
        """See ports.transport.Broker."""
        self._is_cut = False
        if self not in self.server.clients:
            self.server.clients.append(self)

    async def reach(self) -> None:
        """Pass one trip to the server. Raises StorageUnavailable where the connection is not there."""
        await asyncio.sleep(0)
        if self not in self.server.clients:
            raise StorageUnavailable("this client of the memory broker is not connected. Call open() first")
        was_cut, self._is_cut = self._is_cut, False
        if was_cut:
            raise StorageUnavailable("the connection to the memory broker was cut. The next call connects again")

    async def layouts(self, channels: Collection[str]) -> Mapping[str, Layout]:
        """See ports.transport.Broker."""
        await self.reach()
        there = self.server.channels
        is_log = self.server.profile.shape == "log"
        return {
            name: Layout(len(there[name].partitions), there[name].incarnation if is_log else "")
            for name in sorted(channels)
            if name in there
        }

    async def create(self, wanted: Mapping[str, int]) -> None:
        """See ports.transport.Broker."""
        await self.reach()
        self.server.make(wanted)

    async def begin(self, reader: str, channels: Collection[str], slots: int, starts: Starts) -> Mapping[int, Cursor]:
        """See ports.transport.Broker. Channels that are not there are made."""
        await self.reach()
        names = sorted(channels)
        self.server.make(dict.fromkeys(names, slots))
        there = [(name, self.server.channels[name]) for name in names]
        for name, channel in there:
            _check_slots(reader, slots, name, channel)
        if self.server.profile.shape == "queue":
            self.server.bind(reader, names)
            return {}
        return {
            slot: tuple((name, each.incarnation, each.partitions[slot].begin(starts)) for name, each in there)
            for slot in range(slots)
        }

    async def behind(self, at: Mapping[int, Cursor]) -> Mapping[int, int]:
        """See ports.transport.Broker."""
        await self.reach()
        if self.server.profile.shape == "queue":
            return {}
        there = self.server.channels
        return {
            slot: sum(max(0, there[name].partitions[slot].end - offset) for name, _, offset in cursor if name in there)
            for slot, cursor in at.items()
        }

    def source(self, reader: str, channels: Sequence[str], slots: int) -> MemoryLogSource | MemoryQueueSource:
        """See ports.transport.Broker."""
        if self.server.profile.shape == "log":
            return MemoryLogSource(self, reader, channels, slots)
        self._queues.append(MemoryQueueSource(self, reader, channels, slots))
        return self._queues[-1]

    def sink(self) -> MemorySink:
        """See ports.transport.Broker."""
        return MemorySink(self)

    async def close(self) -> None:
        """See ports.transport.Broker. What its sources have not settled comes again."""
        self.cut()
        if self in self.server.clients:
            self.server.clients.remove(self)

    def cut(self) -> None:
        """Break this client's connection alone. See MemoryServer.cut."""
        self._is_cut = True
        for source in self._queues:
            source.let_go()


class MemorySink:
    """See ports.transport.Sink."""

    def __init__(self, broker: MemoryBroker) -> None:
        """Publish through this client."""
        self._broker = broker

    async def publish(self, batch: Sequence[Received]) -> None:
        """See ports.transport.Sink. Raises TooLarge for a message that the imitated broker would not take."""
        await self._broker.reach()
        self._broker.server.land([self._row(message) for message in batch])

    def _row(self, message: Received) -> Row:
        envelope, most = message.envelope, self._broker.capabilities.body_bytes_max
        headers, wire = outward(message, self._broker.style(envelope.channel))
        if len(message.body) > most or len(wire) > most + ENVELOPE_BYTES_MAX:
            name = self._broker.server.profile.name
            raise TooLarge(
                f"message {envelope.id} on {envelope.channel}: {len(wire):,} bytes on the wire; {name} takes bodies of "
                f"{most:,}. Send a link to large data."
            )
        try:
            told = tuple((name, value.encode()) for name, value in headers.items())
        except UnicodeEncodeError:
            raise ContractError(f"message {envelope.id}: a header is not Unicode text. Leave it out") from None
        return Row(envelope.channel, envelope.key.encode(), told, wire)


class MemoryLogSource:
    """See ports.transport.LogSource. A slot is a partition, the same of every channel of the reader.

    The cursor of a slot has a channel, its incarnation and the next offset for each channel, in an order that never
    changes: a channel that is new is added at the end. A position is the place in that order, and the offset.
    """

    shape: Literal["log"] = "log"
    memory = None
    is_apart = True
    offered = None
    cap_by: Literal["slot"] = "slot"

    def __init__(self, broker: MemoryBroker, reader: str, channels: Sequence[str], slots: int) -> None:
        """Read nothing yet."""
        self.slots = slots
        self.head = 0
        self._broker = broker
        self._reader = reader
        self._channels = tuple(channels)
        self._news = broker.server.listen()
        self._turn = 0

    async def prepare(self) -> None:
        """See ports.transport.LogSource."""
        await self.own(())

    async def own(self, slots: Collection[int]) -> None:  # noqa: ARG002 - whoever fetches reads, as the leases allow it
        """See ports.transport.LogSource. Raises StorageError for channels in another number of partitions."""
        await self._broker.reach()
        for name in self._channels:
            channel = self._broker.server.channels.get(name)
            if channel is not None:
                _check_slots(self._reader, self.slots, name, channel)

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:
        """See ports.transport.LogSource. Slots, and the channels of one, take turns."""
        await self._broker.reach()
        self._news.clear()
        left, pages, share = limit, list[Page](), max(1, limit // max(1, len(at)))
        for slot in _by_turns(sorted(at), self._turn):
            found = self._pages(slot, at[slot], channels, min(share, left))
            left -= sum(len(page.messages) for page in found)
            pages += found
        self._turn += 1
        self.head += sum(len(page.messages) or 1 for page in pages)
        return pages

    async def wait(self, timeout_seconds: float) -> None:
        """See ports.transport.LogSource."""
        await _heard(self._news, timeout_seconds)

    async def report(self, done: Mapping[int, Cursor]) -> None:
        """See ports.transport.LogSource: nobody looks."""

    async def close(self) -> None:
        """See ports.transport.LogSource."""
        self._broker.server.ignore(self._news)

    def _pages(self, slot: int, cursor: Cursor, channels: Collection[str], limit: int) -> list[Page]:
        """A page for each channel that has something; an empty one if there is nothing but a channel that is new."""
        end = begun = self._with_new(slot, cursor, channels)
        wanted = [index for index, (name, _, _) in enumerate(begun) if name in channels]
        partitions = {index: self._partition(slot, *begun[index]) for index in wanted}
        pages, is_whole = list[Page](), True
        for index in _by_turns(wanted, self._turn // self.slots):
            partition, (name, _, offset) = partitions[index], begun[index]
            at = offset - partition.first
            kept = partition.kept[at : at + limit]
            limit -= len(kept)
            is_whole = is_whole and offset + len(kept) == partition.end
            if kept:
                style, base = self._broker.style(name), position_of(index, offset)
                received = [_received(each, position, style) for position, each in enumerate(kept, base)]
                inside = partial(behind, end, index)
                end = inside(received[-1].position)
                pages.append(Page(slot, received, end, inside, is_whole=False))
        if not pages and begun != cursor:
            pages.append(Page(slot, (), begun, partial(behind, begun, 0), is_whole=False))
        return [*pages[:-1], *(page._replace(is_whole=is_whole) for page in pages[-1:])]

    def _with_new(self, slot: int, cursor: Cursor, channels: Collection[str]) -> Cursor:
        """A cursor that has all of `channels`: one that is new begins at its oldest message."""
        known = {name for name, _, _ in cursor}
        new = [(name, self._channel(slot, name)) for name in sorted(channels) if name not in known]
        return (*cursor, *((name, channel.incarnation, channel.partitions[slot].first) for name, channel in new))

    def _channel(self, slot: int, name: str, offset: int = 0) -> Channel:
        """A channel as it is at the server. Raises StorageError where it cannot be read."""
        channel = self._broker.server.channels.get(name)
        if channel is None:
            raise lost((self._reader, slot), name, offset, "is not there (make it: eventseam topology apply)")
        _check_slots(self._reader, self.slots, name, channel)
        return channel

    def _partition(self, slot: int, name: str, incarnation: str, offset: int) -> Partition:
        """What a cursor stands on. Raises StorageError where something behind it was lost."""
        channel = self._channel(slot, name, offset)
        partition = channel.partitions[slot]
        flaw = ""
        if incarnation not in ("", channel.incarnation):
            flaw = "was deleted and made again"
        elif offset < partition.first:
            flaw = f"was trimmed up to offset {partition.first}"
        elif offset > partition.end:
            flaw = f"ends at offset {partition.end}"
        if flaw:
            raise lost((self._reader, slot), name, offset, flaw)
        return partition


class _Holding:
    """What a source has of one slot that it owns: deliveries by their positions, and the last position given."""

    __slots__ = ("deliveries", "last")

    def __init__(self) -> None:
        self.deliveries: dict[int, Delivery] = {}
        self.last = 0


class MemoryQueueSource:
    """See ports.transport.QueueSource. One queue for each slot of a reader, whatever clients read it.

    Where a partition has one active reader, a second one gets nothing of it until the first is gone.
    """

    shape: Literal["queue"] = "queue"

    def __init__(self, broker: MemoryBroker, reader: str, channels: Sequence[str], slots: int) -> None:
        """Own nothing yet."""
        self.slots = slots
        self._broker = broker
        self._reader = reader
        self._channels = tuple(channels)
        self._news = broker.server.listen()
        self._held: dict[int, _Holding] = {}
        self._turn = 0

    def _queue(self, slot: int) -> Queue:
        return self._broker.server.queue(self._reader, slot)

    async def own(self, slots: Collection[int]) -> None:
        """See ports.transport.QueueSource. Raises StorageError for channels in another number of partitions."""
        await self._broker.begin(self._reader, self._channels, self.slots, "now")
        for slot in sorted(self._held.keys() - set(slots)):
            del self._held[slot]
            self._queue(slot).leave(self)
        for slot in sorted(set(slots) - self._held.keys()):
            self._held[slot] = _Holding()
            self._queue(slot).join(self)

    async def fetch(self, slots: Collection[int], limit: int) -> Mapping[int, Sequence[Received]]:
        """See ports.transport.QueueSource. Slots take turns."""
        await self._broker.reach()
        self._news.clear()
        found, share = dict[int, Sequence[Received]](), max(1, limit // max(1, len(slots)))
        for slot in _by_turns(sorted(self._held.keys() & set(slots)), self._turn):
            found[slot] = self._more(slot, min(share, limit))
            limit -= len(found[slot])
        self._turn += 1
        return found

    async def settle(self, slot: int, through: int) -> None:
        """See ports.transport.QueueSource. What came again meanwhile has to be settled there."""
        await self._broker.reach()
        if slot in self._held:
            held = self._held[slot].deliveries
            done = list(takewhile(lambda position: position <= through, held))
            self._queue(slot).settle([held.pop(position) for position in done])

    async def wait(self, timeout_seconds: float) -> None:
        """See ports.transport.QueueSource."""
        await _heard(self._news, timeout_seconds)

    async def close(self) -> None:
        """See ports.transport.QueueSource."""
        self.let_go()
        self._held.clear()
        self._broker.server.ignore(self._news)

    def let_go(self) -> None:
        """What was on its way here comes again, to whoever fetches first."""
        for slot in sorted(self._held):
            self._queue(slot).leave(self)

    def _more(self, slot: int, most: int) -> list[Received]:
        """Up to `most` further messages of a slot, within what may be under way."""
        holding = self._held[slot]
        holding.deliveries = {at: each for at, each in holding.deliveries.items() if not each.is_over}
        received: list[Received] = []
        for delivery in self._queue(slot).take(self, min(most, PREFETCH_MAX - len(holding.deliveries))):
            holding.last += 1
            holding.deliveries[holding.last] = delivery
            received.append(_received(delivery.kept, holding.last, self._broker.style(delivery.kept.row.channel)))
        return received


def _check_slots(reader: str, slots: int, name: str, channel: Channel) -> None:
    count = len(channel.partitions)
    if count != slots:
        raise StorageError(
            f"channel {name} has {count} partitions and {reader} reads {slots}: a key would have two places. Make it "
            f"again with {slots} (eventseam topology plan), or change what the reader's other channels have"
        )


def _received(kept: Kept, position: int, style: Style) -> Received:
    row = kept.row
    return inward(row.headers, row.body, Place(position, row.channel, kept.name, row.key, kept.time), style)


def _by_turns(each: Sequence[int], turn: int) -> Sequence[int]:
    """The same, beginning with another one each turn."""
    first = turn % max(1, len(each))
    return [*each[first:], *each[:first]]


async def _heard(news: asyncio.Event, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await news.wait()
    except TimeoutError:
        return
