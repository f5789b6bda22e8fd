"""A shift: one stretch of ownership of a service's source. What belongs to an old shift is dropped, never applied."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventseam.delivery.item import Lane
    from eventseam.delivery.window import Window
    from eventseam.ports.transport import LogSource


class Slot:
    """One slot's window and fence. `gate` is held while something of it is being applied.

    `stored` is the position in our own journal, which stays as it is where the log is another one.
    """

    __slots__ = ("gate", "rev", "saved", "stored", "window")

    def __init__(self, window: Window, rev: int) -> None:
        """Begin at a stored position whose row has revision `rev`."""
        self.window = window
        self.rev = rev
        self.saved = self.stored = window.done
        self.gate = asyncio.Lock()


class Shift:
    """The slots of a reader while they are owned, and the lanes that wait in `unsettled`.

    `on` says whether it still is the owner, as far as this process knows. `parked` counts, for each lane with unsettled
    rows, the rows that are decided but not committed yet; `slot_of` has the slots of those lanes. `claimed` is what is
    being tried again: row, then handler and slot. `leaving` are slots that are about to be given back. `life` is the
    server's when the first were loaded: what was read after that counts only as long as it lasts.
    """

    __slots__ = (
        "claimed",
        "ended",
        "is_apart",
        "leaving",
        "life",
        "memory",
        "on",
        "parked",
        "reader",
        "recheck",
        "slot_of",
        "slots",
    )

    def __init__(self, reader: str, slots: dict[int, Slot], source: LogSource | None = None, life: str = "") -> None:
        """Start with everything owned and nothing in flight."""
        self.life = life
        self.reader = reader
        self.memory = source.memory if source is not None else None
        self.is_apart = source is not None and source.is_apart
        self.slots = slots
        self.on = True
        self.ended = asyncio.Event()
        self.parked: dict[Lane, int] = {}
        self.slot_of: dict[Lane, int] = {}
        self.claimed: dict[int, tuple[str, int]] = {}
        self.recheck: set[Lane] = set()
        self.leaving: set[int] = set()

    def end(self) -> None:
        """It is over: nothing of it may be applied any more."""
        self.on = False
        self.ended.set()

    def park(self, lane: Lane, slot: int, count: int = 0) -> None:
        """A lane has unsettled rows, or will have: what comes after waits behind them."""
        self.parked[lane] = self.parked.get(lane, 0) + count
        self.slot_of[lane] = slot

    def free(self, lane: Lane) -> None:
        """A lane has no unsettled rows any more."""
        self.parked.pop(lane, None)
        self.slot_of.pop(lane, None)

    def join(self, slots: dict[int, Slot], parked: Iterable[tuple[str, str, int]]) -> None:
        """Own further slots, whose lanes with unsettled rows are `parked`: handler, key and slot."""
        for handler, key, slot in parked:
            self.park((handler, key), slot)
        self.slots.update(slots)

    @property
    def staying(self) -> list[int]:
        """The slots that are not about to be given back."""
        return [number for number in self.slots if number not in self.leaving]

    def has_left(self) -> bool:
        """Whether nothing of the leaving slots is under way."""
        busy = {slot for _, slot in self.claimed.values()}
        return not any(number in busy or len(self.slots[number].window) for number in self.leaving)

    def drop_leaving(self) -> None:
        """Forget the leaving slots: they are given back."""
        for lane in [lane for lane, slot in self.slot_of.items() if slot in self.leaving]:
            self.free(lane)
            self.recheck.discard(lane)
        for number in self.leaving:
            del self.slots[number]
        self.leaving.clear()

    @property
    def commits(self) -> int:
        """A number that changes with each commit of this owner."""
        return sum(slot.rev for slot in self.slots.values())

    @property
    def in_flight(self) -> int:
        """Positions under way in all slots."""
        return sum(slot.window.unfinished for slot in self.slots.values())
