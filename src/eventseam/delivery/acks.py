"""A queue with acks, read as a log: positions count what came since a slot was taken, and saving one acknowledges.

Saved is what is finished and committed, so that a crash in between brings messages again, and the inbox absorbs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eventseam.ports.transport import Page

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from eventseam.ports.transport import Cursor, LogSource, QueueSource, Source


class AckedLog:
    """A `QueueSource` in the shape of a `LogSource`, and the memory of its cursors. See ports.transport."""

    shape: Literal["log"] = "log"
    is_apart = False
    offered = None
    is_prompt = True
    cap_by: Literal["slot"] = "slot"

    def __init__(self, queue: QueueSource) -> None:
        """Own nothing yet."""
        self._queue = queue
        self.head = 0

    @property
    def memory(self) -> AckedLog:
        """Itself."""
        return self

    @property
    def slots(self) -> int:
        """See ports.transport.QueueSource."""
        return self._queue.slots

    async def prepare(self) -> None:
        """See ports.transport.LogSource: what is not acknowledged comes again."""
        await self._queue.own(())

    async def own(self, slots: Collection[int]) -> None:
        """See ports.transport.QueueSource."""
        await self._queue.own(slots)

    async def load(self, revisions: Mapping[int, int]) -> Mapping[int, Cursor]:
        """See ports.transport.CursorMemory: each slot begins anew."""
        return dict.fromkeys(revisions, (0,))

    async def save(self, cursors: Sequence[tuple[int, int, Cursor]]) -> None:
        """See ports.transport.CursorMemory."""
        for slot, _, (through,) in cursors:
            await self._queue.settle(slot, through)

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:  # noqa: ARG002 - a queue is bound to its channels
        """See ports.transport.LogSource."""
        found = await self._queue.fetch(at.keys(), limit)
        self.head += sum(map(len, found.values()))
        return [Page(slot, each, (each[-1].position,), _cursor, is_whole=False) for slot, each in found.items() if each]

    async def wait(self, timeout_seconds: float) -> None:
        """See ports.transport.QueueSource."""
        await self._queue.wait(timeout_seconds)

    async def report(self, done: Mapping[int, Cursor]) -> None:
        """See ports.transport.LogSource. What is not acknowledged says so."""

    async def close(self) -> None:
        """See ports.transport.QueueSource."""
        await self._queue.close()


def as_log(source: Source) -> LogSource:
    """A source of either shape as the engine reads it."""
    return AckedLog(source) if source.shape == "queue" else source


def _cursor(position: int) -> Cursor:
    return (position,)
