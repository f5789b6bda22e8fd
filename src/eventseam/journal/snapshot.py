"""The tail of the journal on PostgreSQL: pages of the difference between two snapshots.

It loses nothing, whatever order transactions commit in, under these rules: it polls outside of any transaction and on
the primary; it pins the end of a difference before it pages through it; and it never uses a cursor that was loaded
before the connection was opened, since a crash or a promotion gives numbers out again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, cast

from eventseam.errors import CursorLost, StorageError, StorageUnavailable
from eventseam.journal.cursor import FOREVER, Snapshot, SnapshotCursor, newest, next_step
from eventseam.journal.source import PageSize, received, wait_for_hint
from eventseam.ports.transport import Page

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from eventseam.journal.source import Hint
    from eventseam.ports.sql import Row, Store
    from eventseam.ports.transport import Cursor, CursorMemory, Received

_SLOT = 16
_HEAD = 17


class SnapshotSource:
    """One reader's view of a journal on PostgreSQL. See ports.transport.LogSource.

    Slots that stand at the same cursor are read together; slots that do not, until they meet.
    """

    shape: Literal["log"] = "log"
    is_apart = False
    offered = None
    cap_by: Literal["reader"] = "reader"

    def __init__(self, store: Store, hint: Hint, memory: CursorMemory | None = None) -> None:
        """Read the journal of `store`, woken by `hint`; `memory` keeps the cursors of a reader of another database."""
        self.memory = memory
        self._store = store
        self._woken = hint.listen()
        self._size = PageSize()
        self._generation = -1
        self._era = 1
        self.head = 0

    @property
    def slots(self) -> int:
        """As many as the store has."""
        return self._store.slots

    async def prepare(self) -> None:
        """See ports.transport.LogSource. Raises StorageError if the journal is another cluster's."""
        states = await self._store.ask("journal_state")
        if not states:
            raise StorageUnavailable(
                "the only row of eventseam_journal was deleted: restore it from a backup. See: eventseam db check"
            )
        era, cluster, connected = states[0]
        if cluster != connected:
            raise StorageError(
                f"this journal was written in the cluster {cluster}, and this is {connected}: its transaction numbers "
                "mean nothing here. If it was restored or moved, stop every app and run: eventseam journal rebase"
            )
        self._era = era
        self._generation = self._store.generation

    async def own(self, slots: Collection[int]) -> None:
        """See ports.transport.LogSource. Nothing is kept ready."""

    async def report(self, done: Mapping[int, Cursor]) -> None:
        """See ports.transport.LogSource. Our own tools read the positions."""

    async def close(self) -> None:
        """See ports.transport.LogSource. The store is the app's."""
        self._woken.set()

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:
        """See ports.transport.LogSource."""
        self._woken.clear()
        groups: defaultdict[SnapshotCursor, list[int]] = defaultdict(list)
        for slot, cursor in at.items():
            groups[SnapshotCursor(*cursor)].append(slot)
        latest = newest(tuple(groups), self._era)
        limit = self._size.within(limit)
        pages: list[Page] = []
        for cursor, slots in groups.items():
            pages += await self._read(cursor, slots, list(channels), limit, latest)
        self._size.fit(sum(len(message.body) for page in pages for message in page.messages), limit)
        return pages

    async def wait(self, timeout_seconds: float) -> None:
        """See ports.transport.LogSource."""
        await wait_for_hint(self._woken, timeout_seconds)

    async def _read(
        self, cursor: SnapshotCursor, slots: list[int], channels: list[str], limit: int, latest: Snapshot | None
    ) -> list[Page]:
        step = next_step(cursor, self._era, latest)
        if step == "poll":
            return await self._poll(cursor, slots, channels, limit)
        if step == "meet":
            end = _text(cast("Snapshot", latest))
            _, done, hi = (await self._ask("open_difference", *_bounds(cursor), cursor.era))[0]
            if done is None:
                return _pages(slots, (), SnapshotCursor(cursor.era, end), cursor, is_whole=False)
            cursor = SnapshotCursor(cursor.era, cursor.s0, end, done, hi)
        elif step == "end of era":
            hi = (await self._ask("era_end", cursor.era))[0][0]
            cursor = SnapshotCursor(cursor.era, cursor.s0, FOREVER, 0, hi)
        return await self._page(cursor, slots, channels, limit)

    async def _poll(self, cursor: SnapshotCursor, slots: list[int], channels: list[str], limit: int) -> list[Page]:
        found = await self._ask("poll", *_bounds(cursor), slots, channels, limit + 1, cursor.era)
        header, *rows = sorted(found, key=_position)  # positions begin at 1, the header's is 0
        self.head = header[_HEAD] or 0
        if Snapshot.parse(header[1]).xmax < Snapshot.parse(cursor.s0).xmax:
            raise CursorLost("transaction numbers went backwards: the server was restored, promoted or crashed")
        if len(rows) <= limit:
            within = SnapshotCursor(cursor.era, cursor.s0, header[1], 0, rows[-1][0]) if rows else cursor
            return _pages(slots, rows, SnapshotCursor(cursor.era, header[1]), within, is_whole=True)
        end, done, hi = (await self._ask("open_difference", *_bounds(cursor), cursor.era))[0]
        return await self._page(SnapshotCursor(cursor.era, cursor.s0, end, done, hi), slots, channels, limit)

    async def _page(self, cursor: SnapshotCursor, slots: list[int], channels: list[str], limit: int) -> list[Page]:
        era, s0, s1, done, hi = cursor
        rows = await self._ask("page", s0, s1, done, hi, slots, channels, limit, era)
        end = cursor.finished() if len(rows) < limit else cursor.at(rows[-1][0])
        return _pages(slots, rows, end, cursor, is_whole=False)

    async def _ask(self, statement: str, *args: object) -> Sequence[Row]:
        """Rows that were read on the connection on which the cursors were loaded. Raises CursorLost for another."""
        rows = await self._store.ask(statement, *args)
        if self._store.generation != self._generation:
            raise CursorLost("the connection to the database was opened again: cursors must be loaded again")
        return rows


def _pages(
    slots: Sequence[int], rows: Sequence[Row], end: SnapshotCursor, within: SnapshotCursor, *, is_whole: bool
) -> list[Page]:
    """A page for each slot, with the messages of its keys."""
    messages: dict[int, list[Received]] = {slot: [] for slot in slots} if rows else {}
    for row in rows:
        messages[row[_SLOT]].append(received(row))
    return [Page(slot, messages.get(slot, ()), end, within.at, is_whole) for slot in slots]


def _bounds(cursor: SnapshotCursor) -> tuple[list[str], str]:
    """The transactions that were running in a cursor's snapshot, and its xmax, as parameters."""
    snapshot = Snapshot.parse(cursor.s0)
    return [str(x) for x in snapshot.xip], str(snapshot.xmax)


def _text(snapshot: Snapshot) -> str:
    """A snapshot as PostgreSQL reads it."""
    xmin = min((*snapshot.xip, snapshot.xmax))
    return f"{xmin}:{snapshot.xmax}:{','.join(str(x) for x in snapshot.xip)}"


def _position(row: Row) -> int:
    position: int = row[0]
    return position
