"""The relay from a full journal to a sink that takes everything, beside a raw one: page, hand over, note the position.

The raw one also reads by the difference of two snapshots: less would lose rows. It hands over rows as the driver gives
them; ours makes envelopes, owns slots by lease, and notes under a fence.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from bench.measure import Case, Comparison, Variant
from bench.postgres.timing import Watch, with_server
from eventseam import Seams, Settings
from eventseam.app.stores import open_source, open_store
from eventseam.delivery.committer import Surroundings
from eventseam.delivery.options import EngineOptions
from eventseam.delivery.relay import Relay
from eventseam.journal.source import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.measure import Timing
    from bench.postgres.databases import Databases
    from eventseam.ports.transport import Received

_PAGE = """
SELECT position, aggregate_type, aggregate_id, event_type, payload::text, body, created_at, message_id::text, source,
  correlation_id, causation_id, trace, content_type, schema_id, details
FROM event_outbox
WHERE position > $1 AND position <= $2 AND aggregate_type = 'order'
  AND pg_visible_in_snapshot(x, $4::text::pg_snapshot) AND NOT pg_visible_in_snapshot(x, $3::text::pg_snapshot)
ORDER BY position LIMIT $5
"""
_BEGIN = "INSERT INTO positions (reader, slot, s1, done, hi) VALUES ('raw relay', 0, '1:1:', 0, 0)"
_MOVE = (
    "UPDATE positions SET s1 = $1::text::pg_snapshot, done = $2, hi = $3, rev = rev + 1 "
    "WHERE reader = 'raw relay' AND slot = 0 AND rev = $4"
)
_FIRST = "1:1:"


class NullSink:
    """Takes everything, and tells when it has had all of it."""

    def __init__(self, expected: int) -> None:
        """Expect so many messages."""
        self.left = expected
        self.done = asyncio.Event()

    async def publish(self, batch: Sequence[Received]) -> None:
        """Count."""
        self.left -= len(batch)
        if self.left <= 0:
            self.done.set()


def relay(count: int, databases: Databases) -> Case:
    """Drain a journal of `count` messages into nothing."""
    template = databases.filled(count, None)

    def measured(work: Callable[[str, int], Any]) -> Callable[[], Timing]:
        def measure() -> Timing:
            url = databases.fresh(template)
            return with_server(databases.server.pid, count, lambda: asyncio.run(work(url, count)))

        return measure

    variants = [
        Variant("raw, pages of 500", measured(lambda url, count: _raw(url, count, 500)), "page, hand over, position"),
        Variant(
            "raw, pages of 1,000", measured(lambda url, count: _raw(url, count, 1_000)), "page, hand over, position"
        ),
        Variant("eventseam, pages of 500", measured(_ours), "and envelopes, lease, slots, fence, dead letters, retry"),
    ]
    comparisons = [
        Comparison("relay of the raw relay, pages of 500", variants[2].name, variants[0].name, must=0.6),
        Comparison("relay of the raw relay, its pages of 1,000", variants[2].name, variants[1].name),
    ]
    return Case("pg-relay", "Relay a journal on PostgreSQL to a null sink", variants, comparisons)


async def _raw(url: str, count: int, page_rows: int) -> Timing:
    sink, connection = NullSink(count), await asyncpg.connect(url)
    await connection.execute(_BEGIN)
    watch, done, rev = Watch(), 0, 0
    end: str = await connection.fetchval("SELECT pg_current_snapshot()::text")
    last: int = await connection.fetchval("SELECT max(position) FROM event_outbox")
    while not sink.done.is_set():
        page = await connection.fetch(_PAGE, done, last, _FIRST, end, page_rows)
        await sink.publish(page)
        done = page[-1][0]
        moved = await connection.execute(_MOVE, end, done, last, rev)
        assert moved == "UPDATE 1", "somebody else has moved the position"
        rev += 1
    found = watch.per(count)
    await connection.close()
    return found


async def _ours(url: str, count: int) -> Timing:
    seams, sink, hint = Seams(), NullSink(count), Hint()
    store = open_store(Settings(database=url), seams)
    await store.migrate()
    await store.write(lambda sql: sql.many("new_position", [("relay", slot) for slot in range(store.slots)]))
    await store.ask("life")  # connected before it starts, as the raw one is
    around = Surroundings(store, seams, None, hint.give)
    watch = Watch()
    running = Relay("relay", open_source(store, hint), sink, around, EngineOptions())
    running.channels = ["order"]
    task = asyncio.create_task(running.run())
    await sink.done.wait()  # the position of the last page is noted later; the raw one notes it at once
    found = watch.per(count)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await store.close()
    return found
