"""A page is bounded in bytes as well as in rows."""

from __future__ import annotations

from eventseam import Seams
from eventseam.journal.source import PAGE_BYTES, PAGE_ROWS_FIRST, Hint, JournalSource
from eventseam.storage.sqlite import SqliteStore

INSERT = "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ($1, $2, $3, $4)"


async def pages(tmp_path, count, size):
    """How many rows each page has that reads `count` messages of `size` bytes."""
    store = SqliteStore(str(tmp_path / "db"), Seams())
    await store.migrate()
    await store.write(lambda sql: sql.many(INSERT, [("talk", str(n), "said", "x" * size) for n in range(count)]))
    source, sizes, after = JournalSource(store, Hint()), [], (0,)
    while after[0] < count:
        page = (await source.fetch({0: after}, ["talk"], 500))[0]
        sizes.append(len(page.messages))
        after = page.end
    await store.close()
    return sizes


async def test_small_messages_fill_the_page_after_a_few(tmp_path):
    assert [64, 128, 256, 500] == (await pages(tmp_path, 1_500, 10))[:4]


async def test_large_messages_make_pages_small(tmp_path):
    megabyte = 1024 * 1024
    sizes = await pages(tmp_path, 96, megabyte)
    assert PAGE_ROWS_FIRST == sizes[0]
    assert max(sizes[1:]) * megabyte <= 2 * PAGE_BYTES
