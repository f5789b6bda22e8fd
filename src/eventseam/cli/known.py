"""The names that a database knows, for a filter that matched nothing: a typo must not read as good news.

A name is known if some row bears it. Where there are no rows to judge by, nothing is called a typo.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from eventseam.cli.exits import Exit, NothingMatched, complaint

if TYPE_CHECKING:
    from eventseam.ports.sql import Sql

NAMES_SHOWN = 20

_NEXT_HANDLER = (
    "SELECT service, handler FROM processed_events WHERE service = $1 AND handler > $2 ORDER BY handler LIMIT 1"
)
_NEXT_SERVICE = "SELECT service, handler FROM processed_events WHERE service > $1 ORDER BY service, handler LIMIT 1"
_CHANNELS = "SELECT DISTINCT aggregate_type FROM event_outbox"


async def unknown_service_or_handler(sql: Sql, service: str | None, handler: str | None) -> str | None:
    """What to say of a filter with a name that the database does not know; None if it knows all of them."""
    if service is None and handler is None:
        return None
    pairs = await _of_inbox(sql)
    pairs += [(row[0], row[1]) for row in await sql.rows("SELECT DISTINCT service, handler FROM unsettled")]
    services = {pair[0] for pair in pairs} | {row[0] for row in await sql.rows("SELECT reader FROM positions")}
    handlers = {name for owner, name in pairs if service in (None, owner)}
    return _unknown("service", service, services) or _unknown("handler", handler, handlers)


async def unknown_channel(sql: Sql, channel: str | None) -> str | None:
    """What to say of a channel on which the journal holds nothing; None if it holds something, or nothing at all."""
    if channel is None:
        return None
    return _unknown("channel", channel, {row[0] for row in await sql.rows(_CHANNELS)})


async def _of_inbox(sql: Sql) -> list[tuple[str, str]]:
    """Services and their handlers, from each pair to the next in the index: the inbox may have millions of rows."""
    found: list[tuple[str, str]] = []
    service = handler = ""
    while rows := await sql.rows(_NEXT_HANDLER, service, handler) or await sql.rows(_NEXT_SERVICE, service):
        service, handler = rows[0][0], rows[0][1]
        found.append((service, handler))
    return found


def ended_with(unknown: str | None) -> Exit:
    """The exit code of a list without rows, after a line on stderr if a name in its filter is unknown."""
    if unknown is None:
        return Exit.OK
    print(complaint(NothingMatched(unknown)), file=sys.stderr)
    return Exit.FOUND


def _unknown(kind: str, name: str | None, known: set[str]) -> str | None:
    if name is None or not known or name in known:
        return None
    told = ", ".join(sorted(known)[:NAMES_SHOWN]) + (", …" if len(known) > NAMES_SHOWN else "")
    return f"no {kind} '{name}' in this database; there are: {told}."
