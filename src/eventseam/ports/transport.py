"""The transport port: what a service reads from (`Source`), what a relay publishes to (`Sink`), and their `Broker`.

A source has one of two shapes. A *log with positions* keeps messages; the reader's position lives in the reader's own
database, written in the transaction of the effects, and the log keeps no cursor that matters. A *queue with acks*
forgets what is acknowledged. Nothing here needs a broker's negative acknowledgement, seek, pause or redelivery count:
a message that fails becomes a row in `unsettled`, and back-pressure is not reading. The engine owns leases, fences,
positions, the inbox and in-flight caps: an adapter opens, fetches, reports, settles, publishes and nothing else.

Whoever writes an adapter writes one file with one class, a `Broker`, and lets `eventseam.testing.conformance` judge it.
Every method runs on the loop that opened the broker and must not block it; a library that blocks belongs in
`eventseam.threads.Threads`. An error that a retry may heal is StorageUnavailable (nothing happened) or OutcomeUnknown
(it may have happened); what somebody must repair is StorageError, whose message names the fix. A library's own errors
never pass. No message of an error and no log line holds a password.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from eventseam.contracts.envelope import Envelope

Starts = Literal["beginning", "now"] | datetime
"""Where a new reader begins: the oldest message that is still there; the next one; the first of this time or later."""

EVERY = ("*",)
"""In place of the names of channels: all of a journal, whatever they are."""

DEAD_LETTERS = ".dlq"
"""What is behind a channel's name in the name of its dead letters' channel: no reader takes these for messages."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """One message as it lies in its source: position, envelope, and the raw body that nobody has decoded yet.

    `problem` is set where the source could not even make an honest envelope (a malformed header or column): the engine
    makes such a message a dead letter with its raw bytes. Reading never raises because of one message. `headers` go
    with a message that is published, beside those of its envelope; a source gives those of the copies of dead letters.
    """

    position: int
    envelope: Envelope
    body: bytes | str
    problem: str | None = None
    headers: Mapping[str, str] | None = None


Cursor = tuple[Any, ...]
"""How far a reader is on one slot, as its source writes it: a tuple of what JSON has, nested tuples among them.

The engine stores and compares it and knows no more.
"""


class Page(NamedTuple):
    """What one fetch saw on one slot: `messages` in order, and the cursor `end` when all of them are finished.

    `at(position)` is the cursor when everything up to that message of the page is finished. `is_whole` says that
    nothing was left out that had been committed before the fetch. Of two pages of one slot the second begins where the
    first one ends.
    """

    slot: int
    messages: Sequence[Received]
    end: Cursor
    at: Callable[[int], Cursor]
    is_whole: bool


class CursorMemory(Protocol):
    """Where cursors are kept that mean nothing outside of their log: in the log's own database.

    They are saved after the commit of the effects. After a crash messages come again; the inbox absorbs them.
    """

    @property
    def is_prompt(self) -> bool:
        """Whether to save as soon as something has moved, rather than about once a second."""
        ...

    async def load(self, revisions: Mapping[int, int]) -> Mapping[int, Cursor]:
        """The cursors of slots, whose owner has these revisions from now on."""
        ...

    async def save(self, cursors: Sequence[tuple[int, int, Cursor]]) -> None:
        """Keep slot, revision and cursor, where no newer revision is kept."""
        ...


class LogSource(Protocol):
    """A log with positions, read in `slots` fixed partitions by key, by one reader at a time for each slot.

    Order: two messages of one key come in the order of their appends, if the second append ran after the first one's
    commit. Nothing committed is ever skipped: a trimmed or re-created log raises StorageError, never a silent jump.
    Within one slot each position is another message for ever, also after a restart.
    """

    shape: Literal["log"]

    @property
    def memory(self) -> CursorMemory | None:
        """Where its cursors are kept, if not in the reader's own database, in the transaction of the effects."""
        ...

    @property
    def is_apart(self) -> bool:
        """Whether its cursors are kept in the reader's own database although it is another log than that one's journal.

        So it is of every `Broker` whose source has no `memory`.
        """
        ...

    @property
    def cap_by(self) -> Literal["slot", "reader"]:
        """Whether messages in flight are bounded for each slot, or of all together, where one page serves all of them.

        "slot" for everything that is read by partitions.
        """
        ...

    @property
    def slots(self) -> int:
        """How many partitions there are; fixed for the life of the log."""
        ...

    @property
    def offered(self) -> Collection[int] | None:
        """The slots that this process may own just now, where the broker shares them out; None if it does not."""
        ...

    @property
    def head(self) -> int:
        """A number that grows whenever a fetch has passed something, of whatever channel."""
        ...

    async def prepare(self) -> None:
        """Call it before cursors are loaded. One that was loaded before is not valid any more, and no slot is owned."""
        ...

    async def own(self, slots: Collection[int]) -> None:
        """These slots are this reader's from now on, and no others: what was kept ready of others is dropped."""
        ...

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:
        """Up to `limit` messages of `channels` in all, behind the cursor of each slot, without waiting.

        It changes nothing that lasts. No slot that is named may starve, however much lies in the others; one that is
        owned and not named has no room just now. Raises CursorLost when cursors have to be loaded again,
        StorageUnavailable, StorageError.
        """
        ...

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be something new or the source was closed, at the latest after `timeout_seconds`.

        A hint, never the truth.
        """
        ...

    async def report(self, done: Mapping[int, Cursor]) -> None:
        """Tell the broker's own tools how far this reader is. Nothing depends on it, and it never raises."""
        ...

    async def close(self) -> None:
        """Free what it holds; a message that it has fetched may still be handled. Idempotent."""
        ...


class QueueSource(Protocol):
    """A queue with acks, one ordered queue per slot. Unacknowledged messages come back after a close or a crash."""

    shape: Literal["queue"]

    @property
    def slots(self) -> int:
        """How many partition queues there are."""
        ...

    async def own(self, slots: Collection[int]) -> None:
        """Read these slots from now on, and no others: what is not settled in the others comes to who reads them next.

        A slot that was owned before and still is goes on; in one that is new, positions begin anew.
        """
        ...

    async def fetch(self, slots: Collection[int], limit: int) -> Mapping[int, Sequence[Received]]:
        """Up to `limit` further messages of these slots, without waiting; positions rise within one owning of a slot.

        Nothing comes twice in one owning unless the broker itself repeats it, then at a new position.
        """
        ...

    async def settle(self, slot: int, through: int) -> None:
        """Acknowledge everything up to position `through`: called when that moved, after the effects' commit.

        Of a slot that is not owned any more it does nothing.
        """
        ...

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be something new or the source was closed, at the latest after `timeout_seconds`.

        A hint, never the truth.
        """
        ...

    async def close(self) -> None:
        """Free what it holds: what is not settled comes again. Idempotent."""
        ...


Source = LogSource | QueueSource


class Sink(Protocol):
    """Where a relay publishes.

    What landed is a prefix of the batch, plus duplicates. After OutcomeUnknown the relay publishes again from the first
    message not known to be in, in order, and starts no later batch before; a gap could not be repaired downstream.
    """

    async def publish(self, batch: Sequence[Received]) -> None:
        """Return when every message of `batch` is accepted durably; messages of one key keep their order.

        Raises StorageUnavailable (nothing landed), OutcomeUnknown (a prefix may have), or ContractError for a batch
        with a message that this broker never takes (too large, say): the relay then publishes them one by one.
        """
        ...


class Feature(StrEnum):
    """What a transport may promise beyond the least: that each message published comes at least once, whole."""

    ORDER = "order"
    """Messages of one key come in the order in which they were published."""
    REPLAY = "replay"
    """A log: a stored position can be read on from, and a new reader may begin at the beginning."""
    TIMES = "times"
    """A log: a new reader may begin at a time."""
    LATE = "late"
    """A reader that is new gets what was published before it was there."""
    GAPS = "gaps"
    """A position that was trimmed, or a log that was made anew, is an error at the next fetch."""
    BLOCKS = "blocks"
    """Several slots: one that is not read holds up no other."""
    SURVIVES = "survives"
    """What was accepted outlives a crash of the broker's process."""


class Capabilities(NamedTuple):
    """What a transport can do, as code asks it (`features`, bytes of a body) and as people read it, in a few words.

    A body of `body_bytes_max` bytes is always taken, whatever its envelope; a larger one may be a ContractError.
    """

    features: frozenset[Feature]
    durable: str
    order: str
    redelivery: str
    dedup: str
    age_max: str
    body_bytes_max: int


class Layout(NamedTuple):
    """A channel as it is at a broker: in how many partitions by key, and of which incarnation ("" if that is unknown).

    A channel that was deleted and made again has another incarnation.
    """

    partitions: int
    incarnation: str = ""


class Broker(Protocol):
    """A transport apart from any database of ours, at one address. `connect` of its module makes one."""

    capabilities: Capabilities
    partitions: int
    """How many partitions a channel gets that somebody has to make and nobody has spoken of."""

    def slot_of(self, key: str, slots: int) -> int:
        """Where messages of a key are, of a channel with so many partitions."""
        ...

    async def open(self) -> None:
        """Connect. Raises SettingsError, StorageUnavailable or StorageError; the message names the fix."""
        ...

    async def layouts(self, channels: Collection[str]) -> Mapping[str, Layout]:
        """Those of `channels` that are there."""
        ...

    async def create(self, wanted: Mapping[str, int]) -> None:
        """Make channels that are not there, each with so many partitions. One that is there is left as it is.

        Returns when they can be read and published to.
        """
        ...

    async def begin(self, reader: str, channels: Collection[str], slots: int, starts: Starts) -> Mapping[int, Cursor]:
        """Where the new `reader` of a log begins, for each slot. A queue has no cursors and gives {}.

        What is published to these channels after the return comes to this reader, whether its source is made soon or
        late: a queue is bound now, under the reader's name. Idempotent. "beginning" is the oldest message that is still
        there; a transport without `Feature.LATE` begins now instead. A time is compared with when the broker took a
        message, or with the envelope's time. The channels are there, in `slots` partitions.
        """
        ...

    async def behind(self, at: Mapping[int, Cursor]) -> Mapping[int, int]:
        """How many messages lie behind the cursor of each slot: the lag of a log, or {} for a queue."""
        ...

    def source(self, reader: str, channels: Sequence[str], slots: int) -> Source:
        """What `reader` reads: `channels`, all of which have `slots` partitions, so that a key has one slot in all."""
        ...

    def sink(self) -> Sink:
        """Where to publish; each message goes to its channel, of which there may be new ones at any time.

        One that is not there is made, in as many partitions as the broker's settings say.
        """
        ...

    async def close(self) -> None:
        """Send what was accepted, and disconnect. Idempotent; sources are closed before."""
        ...
