"""The cursor of the journal's tail on PostgreSQL: snapshots, and which read comes next. Pure.

A transaction's number says when it began, not when it became visible, so that no number alone can be a position. What a
reader has finished is a *snapshot*: everything visible in it. What is new is the difference between it and a later one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

BEGINNING = "1:1:"
FOREVER = "9223372036854775807:9223372036854775807:"
"""A snapshot in which everything is visible: the end of an era that is over."""

Step = Literal["poll", "meet", "page", "end of era"]


class Snapshot(NamedTuple):
    """A `pg_snapshot`: transactions from `xmax` on, and those of `xip`, are not visible in it; all others are."""

    xmax: int
    xip: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read `xmin:xmax:xip,xip,…`."""
        _, xmax, xip = text.split(":")
        return cls(int(xmax), tuple(int(x) for x in xip.split(",")) if xip else ())

    def covers(self, other: Snapshot) -> bool:
        """Whether everything that is visible in `other` is visible here."""
        if self.xmax < other.xmax:
            return False
        hidden = set(other.xip)
        return all(x in hidden or x >= other.xmax for x in self.xip)


class SnapshotCursor(NamedTuple):
    """Everything visible in `s0` is finished. Inside a difference that does not fit one page `s1` is its end, `done`
    the position up to which it is finished and `hi` its last position; else they are None.
    """

    era: int
    s0: str
    s1: str | None = None
    done: int | None = None
    hi: int | None = None

    def at(self, position: int) -> SnapshotCursor:
        """The same difference, finished up to `position`."""
        return self._replace(done=position)

    def finished(self) -> SnapshotCursor:
        """The cursor when the open difference is finished: at its end, or in the next era if it was the rest of one."""
        if self.s1 == FOREVER:
            return SnapshotCursor(self.era + 1, BEGINNING)
        return SnapshotCursor(self.era, self.s1 or self.s0)


def newest(cursors: tuple[SnapshotCursor, ...], era: int) -> Snapshot | None:
    """The latest snapshot among cursors of `era` that are not inside a difference."""
    best: Snapshot | None = None
    for cursor in cursors:
        if cursor.era == era and cursor.s1 is None:
            snapshot = Snapshot.parse(cursor.s0)
            if best is None or snapshot.covers(best):
                best = snapshot
    return best


def next_step(cursor: SnapshotCursor, era: int, latest: Snapshot | None) -> Step:
    """What a reader at `cursor` reads next, if the journal is in `era` and the reader's latest slot at `latest`.

    An open difference is finished first. An era that is over is read to its end: its numbers are compared with its own
    snapshots only. A slot behind the latest one meets it, so that one poll serves both from then on.
    """
    if cursor.s1 is not None:
        return "page"
    if cursor.era < era:
        return "end of era"
    mine = Snapshot.parse(cursor.s0)
    if latest is not None and latest != mine and latest.covers(mine):
        return "meet"
    return "poll"
