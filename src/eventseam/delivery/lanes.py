"""Lanes: in each, one item at a time is on its way; the others wait in order. Knows no I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventseam.delivery.item import Item, Lane


class Ready:
    """Items of one handler that may run now, and the workers that wait for one."""

    __slots__ = ("_waiters", "items")

    def __init__(self) -> None:
        """Begin empty."""
        self.items: deque[Item] = deque()
        self._waiters: list[asyncio.Future[None]] = []

    def put(self, item: Item) -> None:
        """Make an item available and wake one worker."""
        self.items.append(item)
        while self._waiters:
            waiter = self._waiters.pop()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def get(self) -> Item:
        """The next item, waiting for it."""
        while not self.items:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return self.items.popleft()

    def more(self, limit: int) -> list[Item]:
        """Up to `limit` further items that are ready, without waiting."""
        return [self.items.popleft() for _ in range(min(limit, len(self.items)))]


class Lanes:
    """All lanes of one service. Depth one: the next item of a lane starts after the previous one is committed."""

    def __init__(self, handlers: list[str]) -> None:
        """One ready queue per handler."""
        self.ready = {name: Ready() for name in handlers}
        self._behind: dict[Lane, deque[Item] | None] = {}
        self._calls: dict[Lane, Item] = {}

    def offer(self, item: Item) -> None:
        """Append an item to its lane; it is ready at once if the lane is free."""
        lane = item.lane
        if lane not in self._behind:
            self._behind[lane] = None
            self._start(item)
            return
        behind = self._behind[lane]
        if behind is None:
            self._behind[lane] = deque((item,))
        else:
            behind.append(item)

    def release(self, lane: Lane) -> None:
        """The item on its way is committed: the next one of the lane is ready, or the lane is free."""
        behind = self._behind.get(lane)
        self._calls.pop(lane, None)
        if behind:
            self._start(behind.popleft())
        else:
            self._behind.pop(lane, None)

    def drain(self, lane: Lane) -> list[Item]:
        """Take every item that waits behind the one on its way: its lane is parked."""
        behind = self._behind.get(lane)
        self._behind.pop(lane, None)
        return list(behind) if behind else []

    def clear(self) -> None:
        """Ownership is lost: forget what came from the source. Calls go on; those behind a message of it may run."""
        waiting = [item for behind in self._behind.values() for item in behind or () if item.shift is None]
        self._behind = dict.fromkeys(self._calls)
        for ready in self.ready.values():
            calls = [item for item in ready.items if item.shift is None]
            ready.items.clear()
            ready.items.extend(calls)
        for item in waiting:
            self.offer(item)

    def _start(self, item: Item) -> None:
        if item.shift is None:
            self._calls[item.lane] = item
        self.ready[item.lane[0]].put(item)
