"""What is dropped from the journal and the inbox, and when: by age, and never what a reader still needs.

A reader that is in the way of that is told by name. To drop its rows all the same leaves a gap that it sees: it is
fenced, and refuses to read on until somebody accepts the gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from eventseam.errors import StorageError
from eventseam.journal.owners import is_gone
from eventseam.journal.source import moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventseam.ports.sql import Sql


class Windows(NamedTuple):
    """Rows older than these times (ISO 8601, UTC) may go: of the journal, of the inbox."""

    journal_before: str
    inbox_before: str


class Dropped(NamedTuple):
    """How many rows were dropped."""

    journal: int
    inbox: int


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A reader that has not finished rows which are old enough to go."""

    reader: str
    messages: int
    first: int
    last: int
    oldest: str


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Messages from position `first` to `last` that were dropped before a reader had finished them all."""

    reader: str
    since: str
    first: int
    last: int


async def trim(sql: Sql, windows: Windows, rows_max: int) -> Dropped:
    """Drop up to `rows_max` old rows each of the journal (only what every reader has finished) and of the inbox.

    Nothing where another process does so at this moment.
    """
    if not (await sql.rows("may_trim"))[0][0]:
        return Dropped(0, 0)
    journal = await sql.changed("trim_journal", windows.journal_before, rows_max)
    inbox = await sql.changed("trim_inbox", windows.inbox_before, rows_max)
    if inbox:  # whoever would publish something again has to know
        await sql.changed("forget_dropped", windows.inbox_before)
        await sql.changed("note_dropped", windows.inbox_before)
    return Dropped(journal, inbox)


async def inbox_dropped(sql: Sql) -> datetime | None:
    """The time before which the inbox remembers nothing, whoever dropped it; None if nothing was dropped."""
    text = (await sql.rows("inbox_dropped"))[0][0]
    return None if text is None else moment(text)


async def force(sql: Sql, journal_before: str, rows_max: int) -> int:
    """Drop up to `rows_max` old rows of the journal, finished or not. Whoever needed one of them has a gap now."""
    await sql.rows("lock_retention")
    await sql.rows("hold_positions")
    await sql.rows("mark_gaps", journal_before, rows_max)
    return await sql.changed("force_journal", journal_before, rows_max)


async def needs(sql: Sql, journal_before: str) -> list[Need]:
    """Who has not finished all rows older than `journal_before`. Looks at every row that somebody has not finished."""
    rows = await sql.rows("needed", journal_before)
    return [Need(**dict(zip(Need.__struct_fields__, row, strict=True))) for row in rows]


async def gaps(sql: Sql) -> list[Gap]:
    """The readers that have a gap, which nobody has accepted yet."""
    return [Gap(**dict(zip(Gap.__struct_fields__, row, strict=True))) for row in await sql.rows("gaps")]


async def accept_gaps(sql: Sql, readers: Sequence[str]) -> None:
    """Let readers go on behind their gaps."""
    await sql.changed("accept_gap", list(readers))


async def forget_reader(sql: Sql, reader: str, now: float) -> bool:
    """Drop the positions of a reader that will never read again; False if there is none.

    Raises StorageError while a process owns one of its slots; one of this machine that was killed owns nothing.
    """
    await sql.rows("lock_retention")
    owners = sorted(row[0] for row in await sql.rows("reader_owners", reader, now))
    if not owners:
        return False
    running = [owner for owner in owners if owner and not is_gone(owner)]
    if running:
        raise StorageError(
            f"{reader} is read by {running[-1]} now. Stop that process first; one that was killed on another machine "
            "counts until its lease ends (lease_seconds)."
        )
    await sql.changed("forget_members", reader)
    return bool(await sql.changed("forget_reader", reader))
