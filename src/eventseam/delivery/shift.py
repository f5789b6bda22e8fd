"""A shift: one stretch of ownership of a service's source. What belongs to an old shift is dropped, never applied."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventseam.delivery.item import Lane
    from eventseam.delivery.window import Window


class Slot:
    """One slot's window and fence."""

    __slots__ = ("rev", "saved", "window")

    def __init__(self, window: Window, rev: int) -> None:
        """Begin at a stored position whose row has revision `rev`."""
        self.window = window
        self.rev = rev
        self.saved = window.done


class Shift:
    """The slots of a reader while they are owned, and the lanes that wait in `unsettled`.

    `on` says whether it still is the owner, as far as this process knows. `parked` counts, for each lane with unsettled
    rows, the rows that are decided but not committed yet. `claimed` is what is being tried again: row and handler.
    """

    __slots__ = ("claimed", "ended", "on", "parked", "reader", "recheck", "slots")

    def __init__(self, reader: str, slots: dict[int, Slot]) -> None:
        """Start with everything owned and nothing in flight."""
        self.reader = reader
        self.slots = slots
        self.on = True
        self.ended = asyncio.Event()
        self.parked: dict[Lane, int] = {}
        self.claimed: dict[int, str] = {}
        self.recheck: set[Lane] = set()

    def end(self) -> None:
        """It is over: nothing of it may be applied any more."""
        self.on = False
        self.ended.set()

    @property
    def commits(self) -> int:
        """A number that changes with each commit of this owner."""
        return sum(slot.rev for slot in self.slots.values())

    @property
    def in_flight(self) -> int:
        """Positions under way in all slots."""
        return sum(len(slot.window) for slot in self.slots.values())
