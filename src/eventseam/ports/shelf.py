"""What a partitioned log's client has handed over and nobody has fetched yet, by slot: shared by all such logs.

It knows for each slot the cursor up to which it has given pages. Who asks for another one begins anew there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from eventseam.ports.cursors import behind, place_of, position_of
from eventseam.ports.transport import Page, Received

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from eventseam.ports.transport import Cursor

Read = Callable[[Any, str, int], Received]
"""From a client's message, its channel and its position to ours."""


class Shelf:
    """Messages that are ready, in order for each slot and channel."""

    def __init__(self, read: Read) -> None:
        """Hold nothing; `read` makes a message of ours when its page is asked for."""
        self._read = read
        self.at: dict[int, Cursor] = {}
        self._ready: dict[int, deque[tuple[str, int, Any]]] = {}
        self.given = 0

    def __len__(self) -> int:
        """How many messages are ready."""
        return sum(map(len, self._ready.values()))

    def moved(self, at: Mapping[int, Cursor]) -> dict[int, Cursor]:
        """Those cursors that are not where pages have ended: the client must begin there. What was ready is dropped."""
        new = {slot: cursor for slot, cursor in at.items() if self.at.get(slot) != cursor}
        for slot, cursor in new.items():
            self.at[slot] = cursor
            self._ready[slot] = deque()
        return new

    def drop(self, slots: Iterable[int]) -> None:
        """Forget slots."""
        for slot in slots:
            self.at.pop(slot, None)
            self._ready.pop(slot, None)

    def longer_than(self, count: int, but: Collection[int]) -> list[int]:
        """The slots, but for some, of which more than `count` messages are ready: nobody has room for them."""
        return [slot for slot, ready in self._ready.items() if len(ready) > count and slot not in but]

    def put(self, slot: int, channel: str, offset: int, message: object) -> None:
        """Take a message of a slot that is read; of any other it is dropped."""
        ready = self._ready.get(slot)
        if ready is not None:
            ready.append((channel, offset, message))

    def pages(self, slots: Iterable[int], limit: int) -> list[Page]:
        """Up to `limit` messages of these slots, each with its share, in a page for each slot and channel."""
        those = [slot for slot in slots if self._ready.get(slot)]
        share = max(1, limit // max(1, len(those)))
        return [page for slot in those for page in self._of_slot(slot, share)]

    def _of_slot(self, slot: int, limit: int) -> list[Page]:
        ready = self._ready[slot]
        by_channel: dict[str, list[tuple[int, Any]]] = {}
        for _ in range(min(limit, len(ready))):
            channel, offset, message = ready.popleft()
            by_channel.setdefault(channel, []).append((offset, message))
        return [self._page(slot, channel, messages) for channel, messages in by_channel.items()]

    def _page(self, slot: int, channel: str, messages: list[tuple[int, Any]]) -> Page:
        cursor, read = self.at[slot], self._read
        place = place_of(cursor, channel)
        begins = cursor[place][2]  # a client may give something again, when the leader of its partition has changed
        found = [read(each, channel, position_of(place, offset)) for offset, each in messages if offset >= begins]
        at = partial(behind, cursor, place)
        self.at[slot] = at(found[-1].position) if found else cursor
        self.given += len(found)
        return Page(slot, found, self.at[slot], at, is_whole=False)
