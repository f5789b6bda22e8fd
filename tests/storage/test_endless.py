"""A statement without end is stopped: on the loop soon, in a thread after its bound; the store works on."""

from __future__ import annotations

import asyncio

import pytest

from eventseam import Seams, StorageError
from eventseam.storage.sqlite import SqliteOptions, SqliteStore

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


async def test_an_endless_statement_is_stopped_and_nothing_of_its_transaction_stays(tmp_path):
    options = SqliteOptions(loop_seconds_max=0.05, statements_seconds_max=0.2)
    store = SqliteStore(str(tmp_path / "db"), Seams(), options)
    await store.migrate(["CREATE TABLE t (a);"])

    async def endless(sql):
        await sql.rows("INSERT INTO t (a) VALUES ($1)", 1)
        await sql.rows(ENDLESS)

    async def short(sql):
        await sql.rows("INSERT INTO t (a) VALUES ($1)", 2)

    await store.write(short)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with pytest.raises(StorageError, match=r"ran longer than 0\.2 s"):
        await store.write(endless)
    ticking.cancel()
    await store.write(short)
    assert [2, 2] == [row[0] for row in await store.read(lambda sql: sql.rows("SELECT a FROM t ORDER BY rowid"))]
    assert ticks > 2, "the loop stood still"
    await store.close()
