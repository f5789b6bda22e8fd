"""Several committers on hot rows: apps of one service with stores of their own, whose records add to 50 rows.

Whatever applies wait for each other, none may deadlock: one apply of a service runs at a time (an advisory lock), and
within it lanes are merged as they come.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from eventseam import App, Ctx, Service, Settings, SyncTx
from tests.owners.worker import Drawn
from tests.owners.writers import INSERT
from tests.support.file import unfinished
from tests.support.postgres import connect, query

if TYPE_CHECKING:
    from eventseam.testing.servers import StartedPostgres

ROWS = 50
EACH = 8
"""Rows that one message adds to, in an order of its own."""
TABLES = f"""
CREATE TABLE IF NOT EXISTS hot (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
INSERT INTO hot (id) SELECT generate_series(0, {ROWS - 1}) ON CONFLICT DO NOTHING;
"""
ADD = "UPDATE hot SET n = n + 1 WHERE id = $1"


class Heat(NamedTuple):
    """How it ended: messages, additions that are there, additions that should be, and deadlocks in the server's log."""

    messages: int
    added: int
    expected: int
    deadlocks: int
    seconds: float


def _rows_of(event: Drawn) -> list[int]:
    return random.Random(f"{event.key} {event.n}").sample(range(ROWS), EACH)


def _heating(form: str) -> Service[object]:
    service: Service[object] = Service("hot", tables=TABLES)
    if form == "record":

        @service.on(Drawn)
        async def add(event: Drawn, ctx: Ctx) -> None:
            for row in _rows_of(event):
                ctx.write(ADD, row)

    else:

        @service.on_tx(Drawn)
        def add(event: Drawn, tx: SyncTx) -> None:
            for row in sorted(_rows_of(event)):  # whoever has a transaction of its own orders its locks
                tx.execute(ADD, row)

    return service


async def heat(server: StartedPostgres, url: str, seconds: float, form: str = "record", committers: int = 4) -> Heat:
    """Run so many committers for some time, with as many messages as they can take; let them drain; count."""
    before = server.log().count("deadlock detected")
    settings = Settings(database=url, durability="normal", lease_seconds=3.0, grace_seconds=1.0)
    began, n = time.monotonic(), 0
    async with AsyncExitStack() as stack:
        for _ in range(committers):
            await stack.enter_async_context(App(_heating(form), settings=settings).running())
        while time.monotonic() < began + seconds:
            n += 1
            await asyncio.to_thread(_publish, url, n)
            while await asyncio.to_thread(unfinished, url) > 1_000:  # noqa: ASYNC110 - of other tasks' commits
                await asyncio.sleep(0.02)
        while await asyncio.to_thread(unfinished, url):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    messages = n * 64
    added = query(url, "SELECT sum(n)::bigint FROM hot")[0][0]
    deadlocks = server.log().count("deadlock detected") - before
    return Heat(messages, added, messages * EACH, deadlocks, time.monotonic() - began)


def _publish(url: str, n: int) -> None:
    with connect(url) as connection, connection.pipeline():
        for key in range(64):
            connection.execute(INSERT, (f"k{key}", f"k{key}", n))
