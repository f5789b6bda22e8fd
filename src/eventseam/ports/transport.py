"""The transport port: what a service reads from (`Source`) and what a relay publishes to (`Sink`).

A source has one of two shapes. A *log with positions* keeps messages; the reader's position lives in the reader's own
database, written in the transaction of the effects, and the log keeps no cursor that matters. A *queue with acks*
forgets what is acknowledged. Nothing here needs a broker's negative acknowledgement, seek, pause or redelivery count:
a message that fails becomes a row in `unsettled`, and back-pressure is not reading. The engine owns leases, fences,
positions, the inbox and in-flight caps, so that an adapter opens, fetches, settles, publishes and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from eventseam.contracts.envelope import Envelope


class Received(msgspec.Struct, frozen=True, gc=False):
    """One message as it lies in its source: position, envelope, and the raw body that nobody has decoded yet.

    `problem` is set where the source could not even make an honest envelope (a malformed header or column): the engine
    makes such a message a dead letter with its raw bytes. Reading never raises because of one message.
    """

    position: int
    envelope: Envelope
    body: bytes | str
    problem: str | None = None


Cursor = tuple[Any, ...]
"""How far a reader is on one slot, as its source writes it. The engine stores and compares it and knows no more."""


class Page(NamedTuple):
    """What one fetch saw on one slot: `messages` in order, and the cursor `end` when all of them are finished.

    `at(position)` is the cursor when everything up to that message of the page is finished. `is_whole` says that
    nothing was left out that had been committed before the fetch.
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

    async def load(self, revisions: Mapping[int, int]) -> Mapping[int, Cursor]:
        """The cursors of slots, whose owner has these revisions from now on."""
        ...

    async def save(self, cursors: Sequence[tuple[int, int, Cursor]]) -> None:
        """Keep slot, revision and cursor, where no newer revision is kept."""
        ...


class LogSource(Protocol):
    """A log with positions, read in `slots` fixed partitions by key.

    Order: two messages of one key come in the order of their appends, if the second append ran after the first one's
    commit. Nothing committed is ever skipped: a trimmed or re-created log raises StorageError, never a silent jump.
    """

    shape: Literal["log"]

    @property
    def memory(self) -> CursorMemory | None:
        """Where its cursors are kept, if not in the reader's own database, in the transaction of the effects."""
        ...

    @property
    def slots(self) -> int:
        """How many partitions there are; fixed for the life of the log."""
        ...

    @property
    def head(self) -> int:
        """The newest position that the last fetch knew of, of whatever channel."""
        ...

    async def prepare(self) -> None:
        """Call it before cursors are loaded. A cursor that was loaded before is not valid any more."""
        ...

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:
        """Up to `limit` messages of `channels` behind the cursor of each slot, without waiting. It changes nothing.

        Raises CursorLost when cursors have to be loaded again, StorageUnavailable, StorageError.
        """
        ...

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be something new, at the latest after `timeout_seconds`. A hint, never the truth."""
        ...


class QueueSource(Protocol):
    """A queue with acks, one ordered queue per slot. Unacknowledged messages come back after a close or a crash."""

    shape: Literal["queue"]

    @property
    def slots(self) -> int:
        """How many partition queues there are."""
        ...

    async def fetch(self, slot: int, limit: int) -> Sequence[Received]:
        """Up to `limit` further messages, waiting for the first; positions rise within one opening of the slot."""
        ...

    async def settle(self, slot: int, through: int) -> None:
        """Acknowledge everything up to `through`, once, only when it moved, and only after the effects' commit."""
        ...


Source = LogSource | QueueSource


class Sink(Protocol):
    """Where a relay publishes.

    What landed is a prefix of the batch, plus duplicates. After OutcomeUnknown the relay publishes again from the first
    message not known to be in, in order, and starts no later batch before; a gap could not be repaired downstream.
    """

    async def publish(self, batch: Sequence[Received]) -> None:
        """Return when every message of `batch` is accepted durably. Raises OutcomeUnknown when that cannot be known."""
        ...
