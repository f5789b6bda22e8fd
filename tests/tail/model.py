"""A journal in memory with PostgreSQL's rules of visibility: transaction numbers, snapshots, positions, eras.

It answers the named statements of the tail, so that thousands of schedules are tried in a second. That the rules are
PostgreSQL's own is what test_source.py and test_chaos.py check on real servers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from eventseam.journal.cursor import Snapshot

FIRST_XID = 740


class ModelRow(NamedTuple):
    position: int
    era: int
    x: int
    slot: int


def is_visible(x: int, snapshot: Snapshot) -> bool:
    """What pg_visible_in_snapshot says."""
    return x < snapshot.xmax and x not in snapshot.xip


class Model:
    """As much of a store as a source needs. Writers are told by their numbers."""

    dialect = "postgresql"

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.generation = 0
        self.era = 1
        self.before_ask: Callable[[], None] = lambda: None
        self._rows: list[ModelRow] = []
        self._running: dict[int, int] = {}
        self._aborted: set[int] = set()
        self._next = FIRST_XID
        self._latest_completed = FIRST_XID - 1

    def number(self, writer: int) -> int:
        """The writer's transaction number, given to it now unless it has one."""
        if writer not in self._running:
            self._running[writer] = self._next
            self._next += 1
        return self._running[writer]

    def append(self, writer: int, slot: int) -> None:
        self._rows.append(ModelRow(len(self._rows) + 1, self.era, self.number(writer), slot))

    def end(self, writer: int, *, commits: bool) -> None:
        x = self._running.pop(writer, None)
        if x is None:
            return
        self._latest_completed = max(self._latest_completed, x)
        if not commits:
            self._aborted.add(x)

    def rebase(self) -> None:
        """The next era begins; nobody may be appending (the real one waits for a lock)."""
        for writer in list(self._running):
            self.end(writer, commits=True)
        self.era += 1

    def committed(self) -> list[int]:
        """The positions of rows that anybody can see now."""
        return [row.position for row in self._rows if self._is_there(row)]

    def snapshot(self) -> Snapshot:
        xmax = self._latest_completed + 1
        return Snapshot(xmax, tuple(sorted(x for x in self._running.values() if x < xmax)))

    async def ask(self, statement: str, *args: Any) -> Sequence[tuple[Any, ...]]:
        self.before_ask()
        answer: list[tuple[Any, ...]] = getattr(self, f"_{statement}")(*args)
        return answer

    def _is_there(self, row: ModelRow) -> bool:
        return row.x not in self._running.values() and row.x not in self._aborted

    def _after(self, xip: list[str], xmax: str, era: int) -> list[ModelRow]:
        """The rows that a cursor has not finished and that can be seen now."""
        hidden = {int(x) for x in xip}
        rows = [row for row in self._rows if row.era == era and self._is_there(row)]
        return [row for row in rows if row.x in hidden or row.x >= int(xmax)]

    def _journal_state(self) -> list[tuple[Any, ...]]:
        return [(self.era, "here", "here")]

    def _poll(self, xip, xmax, *rest):
        """The two arms have a limit each, and the second one is in the order of numbers."""
        slots, _channels, limit, era = rest
        hidden = {int(x) for x in xip}
        rows = [row for row in self._after(xip, xmax, era) if row.slot in slots]
        early = [row for row in rows if row.x in hidden][:limit]
        late = sorted((row for row in rows if row.x >= int(xmax)), key=lambda row: (row.x, row.position))[:limit]
        header = (0, _text(self.snapshot()), *[None] * 14, 0, len(self._rows))
        return [header, *(_wide(row) for row in (*early, *late))]

    def _open_difference(self, xip, xmax, era):
        positions = [row.position for row in self._after(xip, xmax, era)]
        bounds = (min(positions) - 1, max(positions)) if positions else (None, None)
        return [(_text(self.snapshot()), *bounds)]

    def _page(self, s0, s1, *rest):
        done, hi, slots, _channels, limit, era = rest
        begin, end = Snapshot.parse(s0), Snapshot.parse(s1)
        found = [
            row
            for row in self._rows
            if row.era == era and done < row.position <= hi and row.slot in slots and self._is_there(row)
            and is_visible(row.x, end) and not is_visible(row.x, begin)
        ]  # fmt: skip
        return [_wide(row) for row in found[:limit]]

    def _era_end(self, era):
        return [(max((row.position for row in self._rows if row.era == era), default=0),)]


def _text(snapshot: Snapshot) -> str:
    xmin = min((*snapshot.xip, snapshot.xmax))
    return f"{xmin}:{snapshot.xmax}:{','.join(str(x) for x in snapshot.xip)}"


def _wide(row: ModelRow) -> tuple[Any, ...]:
    """A row with the columns of the journal."""
    at = "2026-01-01T00:00:00+00:00"
    return (row.position, "ledger", f"k{row.slot}", "told", "{}", None, at, f"m{row.position}",
            None, None, None, None, None, None, None, None, row.slot, None)  # fmt: skip
