"""Hot keys and hot rows: ten keys in the whole journal; and fifty rows that every message updates one of."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from bench.contracts import OrderPlaced
from bench.engine import Finish
from bench.measure import Case, Comparison, Fact, Variant
from bench.postgres import engine, raw
from bench.postgres.consume import by_hand
from bench.postgres.services import recorded
from bench.postgres.timing import Watch, with_server
from eventseam import App, Ctx, Service, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.measure import Timing
    from bench.postgres.databases import Databases

HOT_KEYS, HOT_ROWS, COMMITTERS = 10, 50, 4
TABLES = (
    "CREATE TABLE IF NOT EXISTS shelves (number integer PRIMARY KEY, taken integer NOT NULL);"
    f"INSERT INTO shelves SELECT n, 0 FROM generate_series(0, {HOT_ROWS - 1}) n ON CONFLICT DO NOTHING;"
)
TAKE = "UPDATE shelves SET taken = taken + 1 WHERE number = $1"


def hot(count: int, databases: Databases) -> Case:
    """Drain a journal of `count` messages. Every message updates two hot rows, in an order that would deadlock."""
    keys = databases.filled(count, HOT_KEYS)
    distinct = databases.filled(count, None)

    def measured(template: str, work: Callable[[str, int], Timing]) -> Callable[[], Timing]:
        def measure() -> Timing:
            url = databases.fresh(template)
            return with_server(databases.server.pid, count, lambda: work(url, count))

        return measure

    def by_keys(url: str, count: int) -> Timing:
        return engine.consume(url, recorded("sql"), count)

    def by_rows(url: str, count: int) -> Timing:
        return engine.consume(url, shelves_service(), count)

    floor, ours = f"raw, {HOT_KEYS} keys", f"eventseam, {HOT_KEYS} keys"
    rows, many = f"eventseam, {HOT_ROWS} hot rows", f"eventseam, {HOT_ROWS} hot rows, {COMMITTERS} committers"
    variants = [
        Variant(floor, measured(keys, lambda url, count: asyncio.run(by_hand(url, count, raw.Floor.consume)))),
        Variant(ours, measured(keys, by_keys)),
        Variant(rows, measured(distinct, by_rows)),
        Variant(many, measured(distinct, lambda url, count: asyncio.run(_together(url, count)))),
    ]
    comparisons = [Comparison(f"{ours}: of raw", ours, floor), Comparison(f"{many}: of one", many, rows)]

    def facts() -> list[Fact]:
        number = databases.deadlocks()
        return [Fact("deadlocks in the server's log", "0", str(number), number == 0)]

    return Case("pg-hot", "Hot keys and hot rows on PostgreSQL", variants, comparisons, facts=facts)


def shelves_service() -> Service[object]:
    """Two updates of hot rows per message, in either order."""
    service: Service[object] = Service("shelves", tables=TABLES)

    @service.on(OrderPlaced)
    async def take(event: OrderPlaced, ctx: Ctx) -> None:
        number = int(event.order_id[-6:])
        ctx.write(TAKE, number % HOT_ROWS)
        ctx.write(TAKE, (number * 7 + 3) % HOT_ROWS)

    return service


async def _together(url: str, count: int) -> Timing:
    """Several apps of one service, each with a committer, share the slots and the rows."""
    probe = Finish(count)
    async with AsyncExitStack() as stack:
        watch = Watch()
        for _ in range(COMMITTERS):
            await stack.enter_async_context(
                App(shelves_service(), settings=Settings(database=url), probe=probe).running()
            )
        await probe.done.wait()
        return watch.per(count, probe.ended)
