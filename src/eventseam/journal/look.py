"""Looking at the journal and its readers: rows and lag. Operations for tools; the engine does not need them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from eventseam.journal.bus import ON_BUS, RELAY
from eventseam.journal.source import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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
    """How far a reader is behind on one slot: everything up to `position` is finished; the age of the oldest rest.

    None is what this database cannot know of a reader whose messages are elsewhere.
    """

    service: str
    slot: int
    position: int | None
    behind_messages: int | None
    behind_seconds: float | None
    owner: str | None


class ReaderLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a reader is behind on all its slots: the least position, the sum of messages, the oldest of them.

    None where it is not known of one slot.
    """

    service: str
    position: int | None
    behind_messages: int | None
    behind_seconds: float | None
    owners: tuple[str, ...]
    slots: tuple[Lag, ...]


async def list_journal(
    sql: Sql, *, channel: str | None = None, key: str | None = None, pending: bool = False, limit: int = 100
) -> list[JournalRow]:
    """The newest rows first; with `pending` only those that some reader has not finished."""
    rows = await sql.rows("list_journal", channel, key, int(pending), limit)
    return [JournalRow(**dict(zip(JournalRow.__struct_fields__, row, strict=True))) for row in rows]


async def lag(sql: Sql, now: datetime) -> list[Lag]:
    """Every reader's slots. Positions are saved with each apply, and once a second where nothing is applied."""
    found: list[Lag] = []
    for reader, slot, position, owner, count, oldest in await sql.rows("lag"):
        if reader.endswith(ON_BUS) and reader != RELAY:
            unknown = Lag(
                service=reader, slot=slot, position=None, behind_messages=None, behind_seconds=None, owner=owner
            )
            found.append(unknown)
            continue
        since = moment(oldest) if oldest else None
        age = max(0.0, (now - since).total_seconds()) if since else 0.0
        found.append(
            Lag(service=reader, slot=slot, position=position, behind_messages=count, behind_seconds=age, owner=owner)
        )
    return found


def by_reader(slots: Iterable[Lag]) -> list[ReaderLag]:
    """One line for each reader, in the order of their names."""
    groups: defaultdict[str, list[Lag]] = defaultdict(list)
    for each in slots:
        groups[each.service].append(each)
    return [
        ReaderLag(
            service=name,
            position=_over(min, [each.position for each in group]),
            behind_messages=_over(sum, [each.behind_messages for each in group]),
            behind_seconds=_over(max, [each.behind_seconds for each in group]),
            owners=tuple(sorted({each.owner for each in group if each.owner})),
            slots=tuple(group),
        )
        for name, group in sorted(groups.items())
    ]


def _over(fold: Callable[[list[Any]], Any], values: list[Any]) -> Any:  # noqa: ANN401 - a number or None
    """What `fold` makes of numbers; None if one is not known."""
    return None if None in values else fold(values)
