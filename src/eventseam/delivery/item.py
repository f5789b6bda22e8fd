"""One message on its way through one handler, and what became of it."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from eventseam.delivery.handler import Handler, Record
from eventseam.delivery.shift import Shift
from eventseam.ports.transport import Received

Lane = tuple[str, str]
"""Handler name and key: the only unit of order and of concurrency."""

Result = Literal["", "applied", "duplicate", "gone"]
"""What the apply found: done, absorbed by the inbox, or settled by somebody else meanwhile."""

_TEXT_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt failed, as text that is safe to store."""

    error_class: str
    message: str
    trace: str


class Done(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The handler returned: its record is to be applied. (A Struct here and below, since one is made per message.)"""

    record: Record


@dataclass(frozen=True, slots=True)
class Parked:
    """The message becomes, or stays, an unsettled row."""

    state: Literal["retrying", "waiting", "dead", "rerouted"]
    attempts: int
    next_at: float
    cause: Cause | None = None
    to: tuple[str, ...] = ()


class Home(Protocol):
    """Where an item comes from and where it is reported when it is committed, or can never be."""

    def settled(self, item: Item) -> None:
        """The item's outcome is committed; `item.result` says what the apply found."""
        ...

    def handlers_of(self, wire: str) -> tuple[str, ...]:
        """The handlers there that take a type, by its name on the wire."""
        ...

    def park(self, item: Item, parked: Parked) -> None:
        """An attempt did not succeed: the item becomes, or stays, unsettled."""
        ...

    def unapplied(self, item: Item, error: Exception) -> None:
        """The item's record cannot be applied: give it another outcome."""
        ...


class Item(msgspec.Struct, eq=False):
    """A message for one handler. `row` is its unsettled row, if it comes from there; `answer` is a caller that waits.

    There is no `shift` where a caller waits. `together` says whether it may run in a batch; one that failed with others
    runs alone. `others` are the rest of a batch that this item leads. `refusals` counts, once its transaction has met
    trouble of the database, how often it was refused just after other work had been taken.
    """

    home: Home
    handler: Handler
    received: Received
    shift: Shift | None
    lane: Lane
    slot: int = 0
    row: int | None = None
    attempts: int = 0
    since: float = 0.0
    answer: asyncio.Future[Any] | None = None
    others: tuple[Item, ...] = ()
    outcome: Done | Parked | None = None
    result: Result = ""
    lane_is_free: bool = False
    stopping: bool = False
    together: bool = True
    refusals: int = -1

    @property
    def from_source(self) -> bool:
        """Whether its position counts: it is neither a retry nor a call."""
        return self.row is None and self.answer is None

    def should_stop(self) -> bool:
        """Whether its handler ran too long; a handler may ask."""
        return self.stopping


def cause_of(error: BaseException) -> Cause:
    """The class, message and innermost frames of an error, cut to a size that a row may have."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    place = "".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} in {frame.name}\n" for frame in frames)
    return Cause(type(error).__name__, text_of(error), _text(place))


def text_of(error: BaseException) -> str:
    """The message of an error, cut to a size that a row may have; user code may fail even at that."""
    try:
        return _text(str(error))
    except Exception as second:  # noqa: BLE001 - an error whose text cannot be made is still its message's own affair
        return f"its text cannot be made: {type(second).__name__}"


def _text(text: str) -> str:
    """Text that every database takes: no lone surrogates, no NUL, bounded."""
    return text[:_TEXT_MAX].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
