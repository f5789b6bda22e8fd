"""Readers as people write them by hand, each with one bug. The docstring says what is wrong."""

from __future__ import annotations

from eventseam.journal.cursor import BEGINNING, FOREVER, SnapshotCursor
from eventseam.journal.snapshot import SnapshotSource, _pages
from tests.tail.rig import CHANNEL, Reader

EVERYTHING = 2**62
XMIN = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


def _passed(last: int) -> SnapshotCursor:
    """A number as a cursor that can be stored."""
    return SnapshotCursor(1, BEGINNING, FOREVER, last, last)


async def _rows(source: SnapshotSource, slots: list[int], after: int = 0):
    """All rows that can be seen, in the order of positions."""
    return await source._ask("page", BEGINNING, FOREVER, after, EVERYTHING, slots, [CHANNEL], 1_000, 1)


class NumberSource(SnapshotSource):
    """Reads on from the last number: `WHERE id > last ORDER BY id`."""

    async def fetch(self, at, channels, limit):
        last = max(cursor[3] or 0 for cursor in at.values())
        rows = await self._choose(await _rows(self, list(at), last))
        end = _passed(rows[-1][0] if rows else last)
        return _pages(list(at), rows, end, end, is_whole=True)

    async def _choose(self, rows):
        return rows


class OldestSource(NumberSource):
    """Leaves out what is not older than every running transaction, and reads on from the last number."""

    async def _choose(self, rows):
        xmin = (await self._ask(XMIN))[0][0]
        numbers = dict(await self._ask("SELECT position, x::text::bigint FROM event_outbox"))
        return [row for row in rows if numbers[row[0]] < xmin]


class HoleSource(NumberSource):
    """Waits at a hole in the ids until all transactions have ended that ran when it was found."""

    def __init__(self, store, hint) -> None:
        super().__init__(store, hint)
        self._last = 0
        self._holes: dict[int, int] = {}

    async def fetch(self, at, channels, limit):
        ids = dict(await self._ask("SELECT position, id FROM event_outbox"))
        rows = sorted(await _rows(self, list(at)), key=lambda row: ids[row[0]])
        given = []
        for row in rows:
            if ids[row[0]] > self._last:
                if not await self._is_closed(ids[row[0]]):
                    break
                self._last = ids[row[0]]
                given.append(row)
        end = _passed(self._last)
        return _pages(list(at), given, end, end, is_whole=True)

    async def _is_closed(self, number: int) -> bool:
        if number == self._last + 1:
            return True
        own = (await self._ask("SELECT pg_current_xact_id()::text::bigint"))[0][0]
        found = self._holes.setdefault(number, own)
        return (await self._ask(XMIN))[0][0] > found != own


class UnpinnedSource(SnapshotSource):
    """Ends each page at what can be seen now."""

    async def _page(self, cursor, slots, channels, limit):
        now = (await self._ask("SELECT pg_current_snapshot()::text"))[0][0]
        return await super()._page(cursor._replace(s1=now, hi=EVERYTHING), slots, channels, limit)


class KeepingSource(SnapshotSource):
    """Goes on with the cursors that it has when the connection was opened again."""

    async def _ask(self, statement, *args):
        return await self._store.ask(statement, *args)


class MergingSource(SnapshotSource):
    """Finishes an open difference and the rest of its era in one go."""

    async def _read(self, cursor, slots, channels, limit, latest):
        if cursor.era < self._era and cursor.s1 is not None:
            hi = (await self._ask("era_end", cursor.era))[0][0]
            return await self._page(cursor._replace(s1=FOREVER, hi=hi), slots, channels, limit)
        return await super()._read(cursor, slots, channels, limit, latest)


class ReadsByNumber(Reader):
    source_type = NumberSource


class ReadsWhatIsOlderThanAllThatRuns(Reader):
    source_type = OldestSource


class TracksHoles(Reader):
    source_type = HoleSource


class EndsEachPageNow(Reader):
    source_type = UnpinnedSource


class KeepsItsCursor(Reader):
    source_type = KeepingSource


class MergesTheStepsOfAnEra(Reader):
    source_type = MergingSource


class TransactionSource(SnapshotSource):
    """Reads in a transaction that somebody else has begun."""

    async def _ask(self, statement, *args):
        return await self.sql.rows(statement, *args)


class PollsWhereItApplies(Reader):
    """Reads and applies in one transaction, which has a number already when it polls."""

    source_type = TransactionSource

    async def step(self, limit=50, **rest):
        async with self.store.transaction() as sql:
            self.source.sql = sql
            await sql.rows("SELECT pg_current_xact_id()")
            await self.between()
            pages = await self.source.fetch(dict(self.at), [CHANNEL], limit)
            moves, messages = self._plan(pages, None)
            if messages:
                await self.put(sql, moves, messages)
        self._moved(moves, stored=bool(messages))
        return [message.position for message in messages]
