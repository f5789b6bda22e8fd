"""Counting what a channel's slowest reader has not finished: right, and linear in what it looks at."""

from __future__ import annotations

import msgspec

from eventseam import Seams
from eventseam.journal.limits import pending
from eventseam.storage.sqlite import SqliteStore

INSERT = "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ($1, $2, 'said', '{}')"
POSITION = "INSERT INTO positions (reader, slot, done, beyond) VALUES ($1, 0, $2, $3)"


async def counted(tmp_path, beyond, bound):
    """What is pending of "talk" for a reader at 10 of 6,000 rows, every second of them on "talk"."""
    store = SqliteStore(str(tmp_path / "db"), Seams())
    await store.migrate()
    rows = [("talk" if n % 2 else "other", str(n)) for n in range(6_000)]
    await store.write(lambda sql: sql.many(INSERT, rows))
    await store.write(lambda sql: sql.rows(POSITION, "ears", 10, msgspec.json.encode(beyond).decode()))
    found = await store.read(lambda sql: pending(sql, "talk", ["ears"], bound))
    await store.close()
    return found


async def test_what_is_finished_beyond_the_low_water_is_not_pending(tmp_path):
    assert 1_100 >= await counted(tmp_path, list(range(12, 2_012)), 100) >= 100


async def test_without_anything_beyond_the_count_stops_at_its_bound(tmp_path):
    assert 100 == await counted(tmp_path, [], 100)


async def test_far_from_the_bound_nothing_is_counted(tmp_path):
    assert 5_990 == await counted(tmp_path, [], 100_000)
