"""The cost of consuming and of an idle look at ten thousand and at ten million rows in the journal and in the inbox."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import psycopg

from bench.measure import Case, Comparison, Variant
from bench.postgres import engine, raw
from bench.postgres.services import recorded
from bench.postgres.timing import with_server
from eventseam import Seams, Settings
from eventseam.app.stores import open_source, open_store
from eventseam.journal.source import Hint

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.measure import Timing
    from bench.postgres.databases import Databases

SMALL = 10_000
_STEP = 500_000
_LOOKS = 200
_TIMES_MUST = 1.2
# Ids as version 7 of UUID makes them: they rise with time.
_JOURNAL = (
    "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, message_id, source, correlation_id) "
    "SELECT 'order', 'customer-' || n, 'order.placed', jsonb_build_object('order_id', 'old-' || n, 'customer', "
    "'customer-' || n, 'email', 'customer-' || n || '@example.org', 'total', '144.80', 'lines', '[]'::jsonb), "
    "('0180' || lpad(to_hex(n), 28, '0'))::uuid, 'web', '0180' || lpad(to_hex(n), 28, '0') "
    "FROM generate_series(%s::integer, %s::integer) n"
)
_INBOX = (
    "INSERT INTO processed_events (event_id, service, handler) "
    "SELECT ('0180' || lpad(to_hex(n), 28, '0'))::uuid::text, 'receipts', 'make' "
    "FROM generate_series(%s::integer, %s::integer) n"
)
_AT_THE_END = (
    "INSERT INTO positions (reader, slot, s0) "
    "SELECT 'receipts', n, pg_current_snapshot() FROM generate_series(0, 15) n ON CONFLICT (reader, slot) "
    "DO UPDATE SET s0 = excluded.s0, s1 = NULL, done = NULL, hi = NULL, beyond = '[]'"
)


def size(count: int, databases: Databases, large: int) -> Case:
    """Append and consume `count` messages per round; the tables grow by that, which is the same for both sizes."""
    variants: list[Variant] = []
    for rows in (SMALL, large):
        url = _filled(databases, rows)
        variants.append(Variant(f"consume, {rows:,} rows", _consumed(databases, url, count)))
        variants.append(Variant(f"idle look, {rows:,} rows", lambda url=url: asyncio.run(_look_us(url))))
    small, small_look, big, big_look = (each.name for each in variants)
    comparisons = [
        Comparison(f"{what} at {large:,} rows: times the cost at {SMALL:,}", ours, floor, "times", must=_TIMES_MUST)
        for what, ours, floor in (("consume", big, small), ("idle look", big_look, small_look))
    ]
    return Case("pg-size", "Consume beside many old rows on PostgreSQL", variants, comparisons)


def _filled(databases: Databases, rows: int) -> str:
    """The URL of a database with `rows` old rows in the journal and in the inbox, all of them finished."""
    url = databases.copy(databases.filled(0, None), f"size_{rows}")
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(1, rows + 1, _STEP):
            last = min(rows, first + _STEP - 1)
            connection.execute(_JOURNAL, (first, last))
            connection.execute(_INBOX, (first, last))
        connection.execute("VACUUM ANALYZE")
        connection.execute(_AT_THE_END)
        connection.execute("CHECKPOINT")
    return url


def _consumed(databases: Databases, url: str, count: int) -> Callable[[], Timing]:
    rounds = iter(range(1_000_000))

    def measure() -> Timing:
        first = next(rounds) * count
        asyncio.run(_append(url, first, first + count))
        raw.settle(url)
        return with_server(databases.server.pid, count, lambda: engine.consume(url, recorded("sql"), count))

    return measure


async def _append(url: str, first: int, last: int) -> None:
    floor = await raw.Floor.open(url)
    await floor.append(first, last, None)
    await floor.close()


async def _look_us(url: str) -> float:
    """The median of many looks that find nothing, as an idle engine does them."""
    store = open_store(Settings(database=url), Seams())
    source = open_source(store, Hint())
    await source.prepare()
    snapshot = (await store.read(lambda sql: sql.rows("SELECT pg_current_snapshot()::text")))[0][0]
    at = dict.fromkeys(range(store.slots), (1, snapshot))
    times: list[float] = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        pages = await source.fetch(at, ["order"], 500)
        times.append(time.perf_counter() - began)
        assert not any(page.messages for page in pages)
    await store.close()
    return statistics.median(times) * 1e6
