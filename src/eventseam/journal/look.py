"""Looking at the journal and its readers: rows, lag, retention. Operations for tools; the engine does not need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from eventseam.journal.source import moment

if TYPE_CHECKING:
    from datetime import datetime

    from eventseam.ports.sql import Sql


class JournalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One journal row as tools show it: never its payload. `behind` counts the readers that have not finished it."""

    position: int
    channel: str
    key: str
    type: str
    created_at: str
    message_id: str
    source: str | None
    correlation_id: str | None
    causation_id: str | None
    size: int
    behind: int


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a reader is behind: rows after its position, the age of the oldest, and who owns it."""

    service: str
    slot: int
    position: int
    behind_messages: int
    behind_seconds: float
    owner: str | None


async def list_journal(
    sql: Sql, *, channel: str | None = None, key: str | None = None, pending: bool = False, limit: int = 100
) -> list[JournalRow]:
    """The newest rows first; with `pending` only those that some reader has not finished."""
    rows = await sql.rows("list_journal", channel, key, int(pending), limit)
    return [JournalRow(**dict(zip(JournalRow.__struct_fields__, row, strict=True))) for row in rows]


async def lag(sql: Sql, now: datetime) -> list[Lag]:
    """Every reader's lag. Positions are saved with each apply, and once a second where nothing is applied."""
    found: list[Lag] = []
    for reader, slot, position, owner, count, oldest in await sql.rows("lag"):
        since = moment(oldest) if oldest else None
        age = max(0.0, (now - since).total_seconds()) if since else 0.0
        found.append(
            Lag(service=reader, slot=slot, position=position, behind_messages=count, behind_seconds=age, owner=owner)
        )
    return found


async def trim(sql: Sql, *, journal_before: str, inbox_before: str, rows_max: int) -> int:
    """Drop up to `rows_max` old rows each of the journal (only what every reader has finished) and of the inbox."""
    dropped = await sql.changed("trim_journal", journal_before, rows_max)
    return max(dropped, await sql.changed("trim_inbox", inbox_before, rows_max))
