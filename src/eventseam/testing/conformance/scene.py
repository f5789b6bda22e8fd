"""What scenarios have in common: channels, clients, messages, and a reader that does what the engine does.

Waiting is asking again until something is there, or until patience ends: no scenario depends on how fast anything is.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from eventseam.clock import Seams
from eventseam.contracts.envelope import Envelope
from eventseam.delivery.acks import as_log
from eventseam.errors import CursorLost, OutcomeUnknown, StorageUnavailable
from eventseam.ports.transport import Feature, Received

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from eventseam.ports.transport import Broker, Cursor, Page, Sink, Starts
    from eventseam.testing.conformance.stage import Stage

PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.02
_SHOWN_MAX = 5
_LATER = timedelta(milliseconds=20)

T = TypeVar("T")


class Got(NamedTuple):
    """A message that came, and in which slot."""

    slot: int
    message: Received


class Reader:
    """Reads as the engine does, `limit` at a time. `got` is all that came; `begun`, `at` and `kept` are the cursors at
    which it began, up to which it has read, and which it has stored of these.
    """

    def __init__(self, scene: Scene, broker: Broker, name: str, channels: Sequence[str]) -> None:
        """Own nothing yet."""
        self.name = name
        self.channels = channels
        self.source = broker.source(name, channels, scene.slots)
        self.log = as_log(self.source)
        self.got: list[Got] = []
        self.at: dict[int, Cursor] = {}
        self.begun: dict[int, Cursor] = {}
        self.kept: dict[int, Cursor] = {}
        self._scene = scene
        self.limit = 100
        self._slots: tuple[int, ...] = ()
        self._revision = 0

    async def start(self, kept: Mapping[int, Cursor], slots: Iterable[int] | None = None) -> None:
        """Own slots (all of them), and begin at cursors: the given ones, or those that the source itself keeps."""
        self._slots = tuple(range(self._scene.slots) if slots is None else slots)
        self.begun = dict(kept)
        self.kept = dict(kept)
        self._revision = self._scene.next_revision()
        await self._scene.again(self._load)

    async def own_more(self, slots: Iterable[int]) -> None:
        """Own these slots as well, and go on in those that it has."""
        more = [slot for slot in slots if slot not in self._slots]
        found = await self._cursors(more)
        self._slots += tuple(more)
        await self.log.own(self._slots)
        self.at |= found

    async def _load(self) -> None:
        await self.log.prepare()
        found = await self._cursors(self._slots)
        await self.log.own(self._slots)
        self.at = found

    async def _cursors(self, slots: Sequence[int]) -> dict[int, Cursor]:
        found = {slot: self.kept[slot] for slot in slots if slot in self.kept}
        if self.log.memory is not None:
            found |= await self.log.memory.load(dict.fromkeys(slots, self._revision))
        return found

    async def fetch(self, slots: Iterable[int] | None = None) -> Sequence[Page]:
        """Fetch once behind where it is, of some slots (all that it owns), and note what came."""
        wanted = {slot: self.at[slot] for slot in (self._slots if slots is None else slots)}
        pages = await self.log.fetch(wanted, self.channels, self.limit)
        count = sum(len(page.messages) for page in pages)
        assert count <= self.limit, f"a fetch of at most {self.limit} messages gave {count}"
        for page in pages:
            assert page.slot in wanted, f"a fetch of the slots {sorted(wanted)} gave a page of slot {page.slot}"
            self.at[page.slot] = page.end
            self.got += [Got(page.slot, message) for message in page.messages]
        return pages

    async def until(
        self, is_enough: Callable[[], bool], missing: Callable[[], str], slots: Iterable[int] | None = None
    ) -> list[Page]:
        """Read on until it is enough; the pages that came. Where it never is, the error says what is `missing`."""
        pages: list[Page] = []
        try:
            async with asyncio.timeout(self._scene.patience_seconds):
                while not is_enough():
                    pages += await self.read_on(slots)
        except TimeoutError:
            raise AssertionError(missing()) from None
        return pages

    async def read_on(self, slots: Iterable[int] | None = None) -> Sequence[Page]:
        """Fetch once, and wait a moment where nothing came; what passes by itself is waited out."""
        await asyncio.sleep(0)  # patience must be able to end, also where nothing of the adapter ever waits
        try:
            pages = await self.fetch(slots)
        except CursorLost:
            await self._scene.again(self._load)
        except StorageUnavailable:
            await asyncio.sleep(_POLL_SECONDS)
        else:
            if not any(page.messages for page in pages):
                await self.log.wait(_POLL_SECONDS)
            return pages
        return ()

    async def until_came(self, messages: Iterable[Received], slots: Iterable[int] | None = None) -> list[Page]:
        """Read on until all of these came; the pages. Raises AssertionError with those that never do."""
        wanted = {message.envelope.id: message for message in messages}

        def missing() -> str:
            lost = [_shown(wanted[each]) for each in wanted if each not in self.ids]
            return f"{len(lost)} of {len(wanted)} messages never came: {', '.join(lost[:_SHOWN_MAX])}"

        return await self.until(lambda: wanted.keys() <= set(self.ids), missing, slots)

    async def keep(self, cursors: dict[int, Cursor] | None = None) -> None:
        """Store how far it is (everything that came is finished), or these cursors: where its successor goes on."""
        moved = dict(self.at if cursors is None else cursors)
        self.kept |= moved
        memory = self.log.memory
        if memory is not None and moved:
            rows = [(slot, self._revision, cursor) for slot, cursor in moved.items()]
            await self._scene.again(lambda: memory.save(rows))

    async def successor(self, broker: Broker | None = None) -> Reader:
        """Another reader of the same name, which begins with what this one has stored."""
        reader = self._scene.source_of(broker or await self._scene.broker(), self.name, self.channels)
        await reader.start(self.kept)
        return reader

    @property
    def ids(self) -> list[str]:
        """Of everything that came, in order."""
        return [each.message.envelope.id for each in self.got]

    def of(self, key: str) -> list[str]:
        """The ids of one key's messages that came, in order."""
        return [each.message.envelope.id for each in self.got if each.message.envelope.key == key]


class Scene:
    """A stage, and what a scenario has set up on it. `check` ends all of it."""

    def __init__(self, stage: Stage, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Set up nothing yet."""
        self.stage = stage
        self.slots = stage.slots
        self.patience_seconds = patience_seconds
        self._seams = Seams()
        self._stack = AsyncExitStack()
        self._name = self._seams.ids.new()[-12:]
        self._named = 0
        self._revision = 0

    async def close(self) -> None:
        """Close readers and clients, the last one first."""
        await self._stack.aclose()

    async def broker(self) -> Broker:
        """A new client."""
        broker = await self.stage.connect()
        self._stack.push_async_callback(broker.close)
        return broker

    async def channel(self, broker: Broker) -> str:
        """A new channel."""
        name = self.name("channel")
        await self.again(lambda: broker.create({name: self.slots}))
        return name

    def name(self, what: str) -> str:
        """A name that nobody has used."""
        self._named += 1
        return f"{what}-{self._name}-{self._named}"

    async def reader(
        self, broker: Broker, *channels: str, starts: Starts = "beginning", slots: Iterable[int] | None = None
    ) -> Reader:
        """A new reader, bound and reading."""
        name = self.name("reader")
        kept = await self.again(lambda: broker.begin(name, channels, self.slots, starts))
        reader = self.source_of(broker, name, channels)
        await reader.start(kept, slots)
        return reader

    def source_of(self, broker: Broker, name: str, channels: Sequence[str]) -> Reader:
        """A reader that has not started, for a scenario with cursors of its own."""
        reader = Reader(self, broker, name, channels)
        self._stack.push_async_callback(reader.log.close)
        return reader

    def next_revision(self) -> int:
        """A newer one than all before."""
        self._revision += 1
        return self._revision

    def message(self, channel: str, key: str, number: int = 0) -> Received:
        """A small message. Its time is whole milliseconds, which every transport can keep."""
        now = self._seams.clock.now()
        message_id = self._seams.ids.new()
        envelope = Envelope(
            id=message_id,
            type="suite.told",
            source="suite",
            channel=channel,
            key=key,
            time=now - timedelta(microseconds=now.microsecond % 1_000),
            correlation_id=message_id,
        )
        return Received(0, envelope, msgspec.json.encode({"n": number}))

    def messages(self, channel: str, count: int, keys: int) -> list[Received]:
        """Messages of so many keys, taking turns."""
        return [self.message(channel, f"key-{number % keys}", number) for number in range(count)]

    async def publish(self, sink: Sink, messages: Sequence[Received]) -> None:
        """Publish a batch as the relay does: again and again until it is in. Raises ContractError."""
        await self.again(lambda: sink.publish(messages))

    async def again(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do something until the broker is there for it."""
        last: Exception | None = None
        try:
            async with asyncio.timeout(self.patience_seconds):
                while True:
                    try:
                        return await act()
                    except (StorageUnavailable, OutcomeUnknown, CursorLost) as error:
                        last = error
                        await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"after {self.patience_seconds:g} s it still says: {last!r}") from last

    async def later(self) -> None:
        """Return when every clock of this machine shows another, later millisecond."""
        begun = self._seams.clock.now()
        while self._seams.clock.now() < begun + _LATER:
            await self._seams.clock.sleep(_POLL_SECONDS)

    def now(self) -> datetime:
        """The wall clock."""
        return self._seams.clock.now()

    async def until_all_came(self, readers: Sequence[Reader], sent: Iterable[Received]) -> None:
        """Read on with several readers until each of these messages came to one of them."""
        wanted = {message.envelope.id for message in sent}
        left = set(wanted)
        try:
            async with asyncio.timeout(self.patience_seconds):
                while left:
                    for reader in readers:
                        await reader.read_on()
                    left = wanted.difference(*(reader.ids for reader in readers))
        except TimeoutError:
            raise AssertionError(f"{len(left)} of {len(wanted)} messages came to no reader") from None

    async def within_patience(self, act: Awaitable[T], what: str) -> T:
        """Await something that must end."""
        try:
            async with asyncio.timeout(self.patience_seconds):
                return await act
        except TimeoutError:
            raise AssertionError(f"{what} did not end within {self.patience_seconds:g} s") from None


def again(reader: Reader, broker: Broker, finished: AbstractSet[str]) -> str:
    """What is wrong with what came again although it was stored as finished, or "".

    A queue that keeps no order gives a message twice now and then, for no reason of ours.
    """
    repeated = finished & set(reader.ids)
    if not repeated or Feature.ORDER not in broker.capabilities.features:
        return ""
    return f"{len(repeated)} of {len(finished)} messages came again that were finished, and stored as that"


def in_first_order(reader: Reader, sent: Sequence[Received]) -> str:
    """What is wrong with the order in which one key's messages came for the first time, or "": repeats do not count.

    This is what an inbox leaves of a log: a message that comes for the first time behind a later one is inverted.
    """
    for key in sorted({message.envelope.key for message in sent}):
        came = list(dict.fromkeys(reader.of(key)))
        wanted = [message.envelope.id for message in sent if message.envelope.key == key]
        numbers = [wanted.index(each) for each in came if each in wanted]
        if numbers != sorted(numbers):
            return f"the messages 0, 1, 2, … of {key} came in this order: {numbers}"
    return ""


def _shown(message: Received) -> str:
    return f"{message.body[:40]!r} of {message.envelope.key!r}"
