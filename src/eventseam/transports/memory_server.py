"""The server of the memory transport: what real brokers promise and how they behave, and the faults a test asks for."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import blake2b
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from eventseam.errors import OutcomeUnknown, SettingsError, StorageUnavailable
from eventseam.ports.transport import Capabilities, Feature

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from eventseam.clock import Seams
    from eventseam.ports.transport import Starts

PREFETCH_MAX = 500
"""How many messages of one slot of a queue may be under way to one reader."""

_PARTITIONS = 6
_SHUFFLED_OF = 32
_REPEATED_SHARE = 0.02
ENVELOPE_BYTES_MAX = 65_536  # what a message's envelope may add to its body on the wire
_READ_BYTES_MAX = 1_048_576  # of a body that our readers take, whatever a broker would
_AWS_BYTES_MAX = 1_048_576 - ENVELOPE_BYTES_MAX  # SQS, and EventBridge since January 2026: 1 MiB with the envelope

_DURABLE = "in memory: nothing outlives the process"
_INBOX = "none: our inbox"
_LOG = frozenset(Feature)
_QUEUE = frozenset({Feature.ORDER, Feature.BLOCKS, Feature.SURVIVES})


@dataclass(frozen=True, slots=True)
class Profile:
    """What one broker is like: what it promises, and how the imitation behaves.

    A log's partitions begin at `first_offset`. A queue's messages come in order and to one reader of a `partition`, in
    order within a `group` (a key), of which one reader at a time has some (SQS itself gives nobody more of a group
    before that is deleted), or in no order; `fetch_max` messages of a slot at once; `hidden_seconds` until one comes
    again that is not settled; `dedup_seconds` in which an id is taken once.
    """

    name: str
    shape: Literal["log", "queue"]
    capabilities: Capabilities
    first_offset: int = 0
    turn: Literal["partition", "group", "none"] = "partition"
    fetch_max: int = PREFETCH_MAX
    hidden_seconds: float = math.inf
    dedup_seconds: float = 0.0

    @property
    def survives(self) -> bool:
        """Whether a restart of the server loses nothing."""
        return Feature.SURVIVES in self.capabilities.features


_KAFKA = Capabilities(
    features=_LOG,
    durable=_DURABLE,
    order="per key, within a partition",
    redelivery="from our own position",
    dedup=_INBOX,
    age_max="the topic's retention.ms or retention.bytes",
    body_bytes_max=900_000,
)
_RABBIT = Capabilities(
    features=_QUEUE,
    durable=_DURABLE,
    order="per key, within a queue that has one active consumer",
    redelivery="what is not acknowledged, once its consumer is gone",
    dedup=_INBOX,
    age_max="none, unless the queue has a TTL",
    body_bytes_max=_READ_BYTES_MAX,
)
_SQS_FIFO = Capabilities(
    features=_QUEUE,
    durable=_DURABLE,
    order="per key, within a message group",
    redelivery="what is not deleted, after its visibility time-out of 30 s",
    dedup="by message id, within 5 minutes",
    age_max="4 days by default, 14 at most",
    body_bytes_max=_AWS_BYTES_MAX,
)
_REDIS = _KAFKA._replace(
    features=_LOG - {Feature.SURVIVES},  # as Redis is without an append-only file
    order="per key, within a stream",
    age_max="until it is trimmed (MAXLEN, MINID)",
    body_bytes_max=_READ_BYTES_MAX,
)
_JETSTREAM = _KAFKA._replace(
    order="per key, within a partition's subject",
    age_max="the stream's max_age, max_bytes or max_msgs",
    body_bytes_max=1_048_576 - ENVELOPE_BYTES_MAX,
)
_SQS_STANDARD = _SQS_FIFO._replace(
    features=_QUEUE - {Feature.ORDER},
    order="none",
    redelivery="what is not deleted, after its visibility time-out of 30 s; now and then without a cause",
    dedup=_INBOX,
)
_EVENTBRIDGE = _SQS_STANDARD._replace(
    redelivery="to its target for 24 hours; then as that one's queue does",
    age_max="24 hours on the way to its target",
)
_SQS = partial(Profile, shape="queue", fetch_max=10, hidden_seconds=30.0)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("kafka", "log", _KAFKA),
        Profile("jetstream", "log", _JETSTREAM, first_offset=1),
        Profile("redis-streams", "log", _REDIS, first_offset=1),
        Profile("rabbit-quorum", "queue", _RABBIT),
        _SQS(name="sqs-fifo", capabilities=_SQS_FIFO, turn="group", dedup_seconds=300.0),
        _SQS(name="sqs-standard", capabilities=_SQS_STANDARD, turn="none"),
        _SQS(name="eventbridge", capabilities=_EVENTBRIDGE, turn="none"),
    )
}
"""All profiles by name."""


class Row(NamedTuple):
    """What goes over the wire to the server."""

    channel: str
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    body: bytes


class Kept(NamedTuple):
    """A message as the server keeps it. `number` counts all that it ever took."""

    number: int
    name: str
    time: datetime
    row: Row
    is_repeat: bool = False


class Partition:
    """One partition of a log: what is kept of it, from offset `first` on."""

    __slots__ = ("first", "kept")

    def __init__(self, first: int) -> None:
        self.first = first
        self.kept: list[Kept] = []

    @property
    def end(self) -> int:
        """The offset that the next message gets."""
        return self.first + len(self.kept)

    def begin(self, starts: Starts) -> int:
        """The offset at which a new reader begins."""
        if starts == "beginning":
            return self.first
        if starts == "now":
            return self.end
        return self.first + sum(1 for _ in takewhile(lambda each: each.time < starts, self.kept))

    def trim(self) -> None:
        """Drop all that is kept."""
        self.first = self.end
        self.kept.clear()


class Delivery:
    """A message on its way to a reader until `ends`. It `is_over` when it was settled or taken back."""

    __slots__ = ("ends", "is_over", "kept", "reader")

    def __init__(self, kept: Kept, reader: object, ends: float) -> None:
        self.kept = kept
        self.reader = reader
        self.ends = ends
        self.is_over = False


class Queue:
    """What one reader's service has not settled of one slot. Several clients may read it at once."""

    def __init__(self, profile: Profile, seams: Seams) -> None:
        self._profile = profile
        self._seams = seams
        self._readers: list[object] = []
        self._ready: deque[Kept] = deque()
        self._under_way: dict[int, Delivery] = {}  # in the order of their ends; by the message's number

    def put(self, kept: Kept) -> None:
        """Add a message at the end."""
        self._ready.append(kept)

    def join(self, reader: object) -> None:
        """Read from now on: where one reads at a time, after those that came before."""
        if reader not in self._readers:
            self._readers.append(reader)

    def leave(self, reader: object) -> None:
        """What this reader has not settled comes again, in its old place."""
        self._give_back([each for each in self._under_way.values() if each.reader is reader])
        if reader in self._readers:
            self._readers.remove(reader)

    def forget(self, channel: str) -> None:
        """Nothing of this channel is there any more."""
        self.settle([each for each in self._under_way.values() if each.kept.row.channel == channel])
        self._ready = deque(each for each in self._ready if each.row.channel != channel)

    def take(self, reader: object, most: int) -> list[Delivery]:
        """Up to `most` deliveries to this reader."""
        now = self._seams.clock.monotonic()
        self._give_back(list(takewhile(lambda each: each.ends <= now, self._under_way.values())))
        self.join(reader)  # again, after a cut
        if self._profile.turn == "partition" and self._readers[0] is not reader:
            return []
        most = min(most, self._profile.fetch_max)
        taken = self._any(most) if self._profile.turn == "none" else self._next(reader, most)
        ends = now + self._profile.hidden_seconds
        for kept in taken:
            self._under_way[kept.number] = Delivery(kept, reader, ends)
        return [self._under_way[kept.number] for kept in taken]

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        """These are done, but for those that were taken back meanwhile."""
        for each in deliveries:
            if not each.is_over:
                each.is_over = True
                del self._under_way[each.kept.number]

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            self.settle(deliveries)
            back = (*self._ready, *(each.kept for each in deliveries))
            self._ready = deque(sorted(back, key=lambda kept: kept.number))

    def _next(self, reader: object, most: int) -> list[Kept]:
        """The oldest ones, without groups of which something is under way to another reader."""
        busy: set[bytes | None] = set()
        if self._profile.turn == "group":
            busy = {each.kept.row.key for each in self._under_way.values() if each.reader is not reader} - {None}
        taken: list[Kept] = []
        passed: list[Kept] = []
        while self._ready and len(taken) < most:
            kept = self._ready.popleft()
            (passed if kept.row.key in busy else taken).append(kept)
        self._ready.extendleft(reversed(passed))
        return taken

    def _any(self, most: int) -> list[Kept]:
        """Some of the older ones in any order; now and then one stays there and comes once more."""
        chance, taken = self._seams.random.random, list[Kept]()
        repeated: list[Kept] = []
        while self._ready and len(taken) < most:
            at = int(chance() * min(_SHUFFLED_OF, len(self._ready)))
            kept = self._ready[at]
            del self._ready[at]
            taken.append(kept)
            if not kept.is_repeat and chance() < _REPEATED_SHARE:
                repeated.append(kept._replace(number=-kept.number, is_repeat=True))
        self._ready.extend(repeated)
        return taken


class Channel:
    """A channel at the server. `taken` has the message ids of the dedup window, oldest first, and when each came."""

    __slots__ = ("incarnation", "partitions", "taken")

    def __init__(self, incarnation: str, partitions: Iterable[Partition]) -> None:
        self.incarnation = incarnation
        self.partitions = tuple(partitions)
        self.taken: dict[str, float] = {}


class Client(Protocol):
    """A connection to the server."""

    def cut(self) -> None:
        """It is broken: what was on its way comes again."""
        ...


class MemoryServer:
    """The broker's process: channels, partitions, messages, and the faults that a test asks for.

    `partitions` is how many a channel gets that is made by publishing to it. Use it from one event loop.
    """

    def __init__(self, profile: Profile | str, seams: Seams, partitions: int = _PARTITIONS) -> None:
        """Start empty. Raises SettingsError for the name of a profile that is not there."""
        if isinstance(profile, str) and profile not in PROFILES:
            raise SettingsError(f"no profile {profile!r} of the memory transport. There are: {', '.join(PROFILES)}")
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.channels: dict[str, Channel] = {}
        self.clients: list[Client] = []
        self._news: list[asyncio.Event] = []
        self._seams = seams
        self.partitions = partitions
        self._bound: dict[str, dict[str, None]] = {}
        self._queues: dict[tuple[str, int], Queue] = {}
        self._count = 0
        self._refusals = 0
        self._lands: int | None = None

    # --- what tests do to it --------------------------------------------------------------------------------------

    def lose_answer(self, after: int) -> None:
        """Of the next batch the first `after` messages land, and its publisher gets OutcomeUnknown."""
        self._lands = after

    def refuse(self, times: int) -> None:
        """The next `times` batches are refused with StorageUnavailable; nothing of them lands."""
        self._refusals = times

    def cut(self) -> None:
        """Break every client's connection: its next call raises StorageUnavailable, the one after connects again."""
        for client in self.clients:
            client.cut()

    def restart(self) -> None:
        """Kill the broker's process and start it again: everybody is cut, and without SURVIVES all messages are gone.

        Channels that lost theirs are made again with as many partitions.
        """
        self.cut()
        if not self.profile.survives:
            for channel in list(self.channels):
                self.recreate(channel)

    def trim(self, channel: str) -> None:
        """Drop every message of a channel, read or not; what comes later goes on counting."""
        for partition in self.channels[channel].partitions:
            partition.trim()
        for queue in self._queues.values():
            queue.forget(channel)

    def recreate(self, channel: str) -> None:
        """Delete a channel and make it again, empty, with as many partitions."""
        self.trim(channel)
        self.channels[channel] = self._made(len(self.channels[channel].partitions))

    def inject(self, channel: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], body: bytes) -> None:
        """Publish as a foreign program does: any bytes."""
        self._take(Row(channel, key, tuple(headers), body))
        self._tell()

    # --- what clients ask of it -----------------------------------------------------------------------------------

    def make(self, wanted: Mapping[str, int]) -> None:
        """Make the channels that are not there."""
        for channel, partitions in wanted.items():
            if channel not in self.channels:
                self.channels[channel] = self._made(partitions)

    def bind(self, reader: str, channels: Collection[str]) -> None:
        """Keep a copy for this reader of what is published from now on."""
        for channel in channels:
            self._bound.setdefault(channel, {})[reader] = None

    def queue(self, reader: str, slot: int) -> Queue:
        """What is kept for a reader in one slot."""
        if (reader, slot) not in self._queues:
            self._queues[reader, slot] = Queue(self.profile, self._seams)
        return self._queues[reader, slot]

    def listen(self) -> asyncio.Event:
        """An event that is set whenever a message has come; the listener clears it."""
        event = asyncio.Event()
        self._news.append(event)
        return event

    def ignore(self, event: asyncio.Event) -> None:
        """Set this event for the last time: who waits for it need not."""
        event.set()
        if event in self._news:
            self._news.remove(event)

    def land(self, rows: Sequence[Row]) -> None:
        """Take a batch. Raises StorageUnavailable or OutcomeUnknown, as a test asked for."""
        if self._refusals > 0:
            self._refusals -= 1
            raise StorageUnavailable("the memory broker refuses, as its test asks for. Nothing has landed: try again")
        lands, self._lands = self._lands, None
        for row in rows[:lands]:
            self._take(row)
        self._tell()
        if lands is not None:
            raise OutcomeUnknown("the memory broker's answer was lost, as its test asks for. Publish again")

    def _made(self, partitions: int) -> Channel:
        first = self.profile.first_offset
        return Channel(self._seams.ids.new(), (Partition(first) for _ in range(partitions)))

    def _take(self, row: Row) -> None:
        self.make({row.channel: self.partitions})
        channel = self.channels[row.channel]
        if self._is_taken(channel, row):
            return
        self._count += 1
        count = len(channel.partitions)
        slot = self._count % count if row.key is None else slot_of(row.key, count)
        kept = Kept(self._count, f"{row.channel}-{slot}-{self._count}", self._seams.clock.now(), row)
        if self.profile.shape == "log":
            channel.partitions[slot].kept.append(kept)
        for reader in self._bound.get(row.channel, ()):
            self.queue(reader, slot).put(kept)

    def _is_taken(self, channel: Channel, row: Row) -> bool:
        """Whether a message of this id came within the dedup window; from now on it did."""
        message_id = next((value.decode(errors="replace") for name, value in row.headers if name == "event-id"), "")
        if not self.profile.dedup_seconds or not message_id:
            return False
        now = self._seams.clock.monotonic()
        for old in list(takewhile(lambda each: channel.taken[each] <= now - self.profile.dedup_seconds, channel.taken)):
            del channel.taken[old]
        if message_id in channel.taken:
            return True
        channel.taken[message_id] = now
        return False

    def _tell(self) -> None:
        for event in self._news:
            event.set()


def slot_of(key: bytes, slots: int) -> int:
    """The partition of a key: the same in every channel, client and run."""
    return int.from_bytes(blake2b(key, digest_size=8).digest()) % slots
