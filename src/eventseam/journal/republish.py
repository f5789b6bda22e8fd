"""Publishing again what the journal still has: copies of rows, with the ids they had, for consumers that lost them.

Whoever has a message recognises its id and does nothing, as long as its inbox remembers. So a window that reaches
beyond that is not to be published again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.ports.sql import Row, Sql

BATCH = 500


class Choice(NamedTuple):
    """Which rows: published within [since, until) (ISO 8601, UTC), of one type, key and channel if given."""

    since: str
    until: str
    type: str | None = None
    key: str | None = None
    channel: str | None = None


class Chosen(NamedTuple):
    """A row that is chosen."""

    position: int
    message_id: str
    type: str
    created_at: str


class Again:
    """One round of publishing again, page by page. A message of which there are copies already is taken once."""

    def __init__(self, choice: Choice) -> None:
        """Begin with the oldest row."""
        self._choice = choice
        self._after = 0
        self._until: int | None = None
        self._seen: set[str] = set()

    async def page(self, sql: Sql) -> tuple[bool, list[Chosen]]:
        """Whether there may be more, and the next rows. Copies that are made meanwhile are not among them."""
        if self._until is None:
            self._until = (await sql.rows("last_position"))[0][0]
        rows: Sequence[Row] = await sql.rows("republish_rows", self._after, self._until, *self._choice, BATCH)
        found = [Chosen(*row) for row in rows]
        if found:
            self._after = found[-1].position
        fresh = list({each.message_id: each for each in reversed(found) if each.message_id not in self._seen}.values())
        self._seen.update(each.message_id for each in fresh)
        return len(rows) == BATCH, fresh[::-1]


async def copy(sql: Sql, rows: Sequence[Chosen]) -> int:
    """Append copies of rows, in the order of their positions. How many there were."""
    return await sql.changed("copy_rows", [row.position for row in rows])
