"""How long things are kept: windows that must fit each other, and the sweep that drops what is older.

A sweep takes some thousand rows at a time and rests twice as long as each turn took: at most a third of one connection.
"""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eventseam.delivery.unsettled import discard
from eventseam.errors import OutcomeUnknown, StorageUnavailable, WiringError
from eventseam.journal.append import timestamp
from eventseam.journal.retention import Windows, trim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from eventseam.app.service import Service
    from eventseam.app.settings import Settings
    from eventseam.clock import Clock
    from eventseam.ports.sql import Sql, Store

ROWS = MappingProxyType({"sqlite": 1_000, "postgresql": 10_000})
"""How many rows of each table one transaction drops: on SQLite it holds the lock of all writers."""
_RESTS = 2


def check_inbox(settings: Settings, services: Iterable[Service[Any]]) -> None:
    """Raise WiringError if a message may come again, by a bus, after the inbox has forgotten it."""
    if settings.transport_url.startswith("journal:"):
        return  # positions are written with the effects: nothing comes again
    declared = (each for service in services for each in service.declarations)
    slowest = max(declared, key=lambda each: each.options.timeout_seconds, default=None)
    if slowest is None:
        return  # nothing is handled here, so nothing twice
    needed = slowest.options.timeout_seconds + settings.lease_seconds + settings.grace_seconds
    if settings.inbox_hours * 3_600 < needed:
        raise WiringError(
            f"inbox_hours={settings.inbox_hours:g} is too short: {slowest.place} may run for "
            f"{slowest.options.timeout_seconds:g} s, and its message may come again {needed:g} s later, when the inbox "
            f"has forgotten it. Set it to {needed / 3_600:.3g} or more."
        )


def windows_at(now: datetime, settings: Settings) -> Windows:
    """What may go at `now`."""
    journal = now - timedelta(hours=settings.journal_hours)
    return Windows(timestamp(journal), timestamp(now - timedelta(hours=settings.inbox_hours)))


async def drop_dead(sql: Sql, before: float, now: float, rows_max: int) -> int:
    """Drop up to `rows_max` dead letters that are dead since before `before`; what waits behind them goes on."""
    rows = await sql.rows("old_dead", before, rows_max)
    return await discard(sql, [row[0] for row in rows], now)


async def sweep(stores: Sequence[Store], settings: Settings, clock: Clock, every_seconds: float) -> None:
    """Keep everything within its window, for ever. The first time after a while: readers come first."""
    while True:
        await clock.sleep(every_seconds)
        for store in stores:
            try:
                await sweep_once(store, settings, clock)
            except (StorageUnavailable, OutcomeUnknown):
                continue  # there will be another time


async def sweep_once(store: Store, settings: Settings, clock: Clock) -> None:
    """Drop all that may go now."""
    windows = windows_at(clock.now(), settings)
    now, rows_max = clock.now().timestamp(), ROWS[store.dialect]
    dead_before = now - settings.dead_letter_hours * 3_600

    async def once(sql: Sql) -> int:
        return max(*await trim(sql, windows, rows_max), await drop_dead(sql, dead_before, now, rows_max))

    while True:
        began = clock.monotonic()
        if await store.write(once) < rows_max:
            return
        await clock.sleep(_RESTS * (clock.monotonic() - began))
