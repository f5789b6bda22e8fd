"""What a reader has in flight on one slot, and the position that follows from it. Pure.

A position is a low water (`done`: everything up to it is finished) and the positions finished beyond it. It is exact
even without an inbox; the low water alone would repeat what finished out of order.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Window:
    """Positions under way: each is admitted once, with the number of handlers that must finish it."""

    __slots__ = ("_finished", "_open", "_passed", "done", "scanned")

    def __init__(self, done: int, beyond: Iterable[int]) -> None:
        """Resume after `done`, with `beyond` finished already."""
        self.done = done
        self.scanned = done
        self._finished = set(beyond)
        self._open: dict[int, int] = {}
        self._passed = 0

    @property
    def unfinished(self) -> int:
        """How many positions are under way and not finished."""
        return len(self._open) - self._passed

    def __len__(self) -> int:
        """How many positions there are between the low water and the last one read, finished or not."""
        return len(self._open)

    def admit(self, position: int, handlers: int) -> bool:
        """Take a position in flight, in rising order; False if it was finished before a restart."""
        if position in self._finished:
            if self._open:
                self._open[position] = 0
                self._passed += 1
            else:  # nothing before it is unfinished
                self._finished.discard(position)
                self.done = position
            return False
        self._open[position] = handlers
        return True

    def after(self, finished: Iterable[int]) -> tuple[int, list[int]]:
        """Low water and beyond, as they would be after one handler more has finished each of `finished`."""
        counts = Counter(finished)
        whole = {position for position, count in counts.items() if self._open.get(position) == count}
        gone = self._finished | whole if self._finished else whole
        low = self.done
        for position in self._open:
            if position not in gone:
                break
            low = position
        else:
            low = self.scanned
        return low, sorted(position for position in gone if position > low)

    def advance(self, finished: Iterable[int]) -> None:
        """What `after` foretold has been committed."""
        under_way, gone = self._open, self._finished
        for position in finished:
            left = under_way[position] - 1
            under_way[position] = left
            if left == 0:
                gone.add(position)
                self._passed += 1
        leading: list[int] = []
        for position in under_way:
            if position not in gone:
                break
            leading.append(position)
        for position in leading:
            del under_way[position]
        if leading:
            gone.difference_update(leading)
            self._passed -= len(leading)
            self.done = leading[-1]
        if not under_way:
            self.done = self.scanned
