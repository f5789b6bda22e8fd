"""Where a reader that is new to a journal begins: at its beginning, now, or at a time.

It is decided once, when the reader's positions are made; a reader that has some keeps them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from eventseam.errors import WiringError
from eventseam.journal.append import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventseam.ports.sql import Sql
    from eventseam.ports.transport import Starts


def check_starts(readers: Iterable[tuple[str, Starts]], now: datetime) -> None:
    """Raise WiringError for a time that has not come yet: whoever starts reads at once, and cannot wait for it."""
    for reader, starts in readers:
        if isinstance(starts, datetime) and starts > now:
            raise WiringError(
                f"Service({reader!r}): starts={starts.isoformat()} has not come yet, and a service that runs reads at "
                'once. Start it then, or write starts="now".'
            )


async def register(sql: Sql, readers: Iterable[tuple[str, Starts]], slots: int) -> None:
    """Give every reader a position on each slot, running or not: what it has not read must not be dropped.

    Everything that is committed after this is read, whatever was in flight.
    """
    await sql.rows("lock_retention")
    numbers = list(range(slots))
    for reader, starts in readers:
        if isinstance(starts, datetime):
            await sql.changed("start_from", reader, numbers, timestamp(starts.astimezone(UTC)))
        else:
            await sql.changed("start_now" if starts == "now" else "start_at_beginning", reader, numbers)
