"""What a reader has in flight on one slot, and the position that follows from it. Pure.

A position is a cursor (everything before it is finished) and the positions finished beyond it. It is exact even without
an inbox; the cursor alone would repeat what finished out of order.
"""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventseam.ports.transport import Cursor, Page


class Window:
    """Positions under way: each is admitted once, with the number of handlers that must finish it.

    Their order is that of reading. Where positions do not rise (a late commit has a low one) only that order counts.
    """

    __slots__ = ("_finished", "_first", "_is_fresh", "_open", "_page", "_pages", "_passed", "done", "scanned")

    def __init__(self, done: Cursor, beyond: Iterable[int]) -> None:
        """Resume at the cursor `done`, with `beyond` finished already."""
        self.done = done
        self.scanned = done
        self._finished = set(beyond)
        self._open: dict[int, int] = {}
        self._passed = 0
        self._page: Page | None = None
        self._is_fresh = False
        self._first: Page | None = None  # the page of the first position under way
        self._pages: dict[int, Page] = {}  # of each further page the first position that was admitted

    def begin(self, done: Cursor) -> None:
        """Resume at another cursor, before anything is read; what is finished beyond stays."""
        self.done = self.scanned = done

    @property
    def unfinished(self) -> int:
        """How many positions are under way and not finished."""
        return len(self._open) - self._passed

    def __len__(self) -> int:
        """How many positions there are between the cursor and the last one read, finished or not."""
        return len(self._open)

    def read(self, page: Page) -> None:
        """Begin with a page: `admit` its messages next, and then say that it is `passed`."""
        self._page = page
        self._is_fresh = True

    def passed(self, page: Page) -> None:
        """Everything of a page that is to be admitted has been."""
        self.scanned = page.end
        if page.is_whole and self._finished:
            self._finished.intersection_update(self._open)  # what a whole page does not show will not come again
        if not self._open:
            self.done = page.end

    def admit(self, position: int, handlers: int) -> bool:
        """Take a position in flight, in the order of reading; False if it was finished before a restart."""
        if position in self._finished:
            if self._open:
                self._note(position)
                self._open[position] = 0
                self._passed += 1
            else:  # nothing before it is unfinished
                self._finished.discard(position)
                self.done = self._page.at(position)  # type: ignore[union-attr]
            return False
        if self._is_fresh:
            self._note(position)
        self._open[position] = handlers
        return True

    def after(self, finished: Iterable[int]) -> tuple[Cursor, list[int]]:
        """Cursor and beyond, as they would be after one handler more has finished each of `finished`."""
        counts = Counter(finished)
        whole = {position for position, count in counts.items() if self._open.get(position) == count}
        gone = self._finished | whole if self._finished else whole
        leading = list(takewhile(gone.__contains__, self._open))
        beyond = sorted(gone.difference(leading))
        if len(leading) == len(self._open):
            return self.scanned, beyond
        return self._cursor_after(leading) if leading else self.done, beyond

    def advance(self, finished: Iterable[int]) -> None:
        """What `after` foretold has been committed."""
        under_way, gone = self._open, self._finished
        for position in finished:
            left = under_way[position] - 1
            under_way[position] = left
            if left == 0:
                gone.add(position)
                self._passed += 1
        leading = list(takewhile(gone.__contains__, under_way))
        if not leading:
            return
        self.done = self._cursor_after(leading)
        for position in leading:
            del under_way[position]
            if position in self._pages:
                self._first = self._pages.pop(position)
        gone.difference_update(leading)
        self._passed -= len(leading)
        if not under_way:
            self.done = self.scanned

    def _cursor_after(self, leading: list[int]) -> Cursor:
        """The cursor behind the last of the leading positions, as its own page writes it."""
        page = self._first
        if self._pages:
            for position in leading:
                page = self._pages.get(position, page)
        return page.at(leading[-1])  # type: ignore[union-attr]

    def _note(self, position: int) -> None:
        """Remember which page begins with a position."""
        if not self._is_fresh:
            return
        self._is_fresh = False
        if self._open:
            self._pages[position] = self._page  # type: ignore[assignment]
        else:
            self._first = self._page
