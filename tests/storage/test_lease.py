"""A connection that is lent to a body in a thread can be taken away at any moment, safely and for good."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest

from eventseam import EventseamError, Seams
from eventseam.ports.sql import run_sync
from eventseam.storage.sqlite import SqliteOptions, SqliteStore
from eventseam.storage.sqlite_binding import SqliteSql
from eventseam.storage.sqlite_lease import LentSql
from tests.support.file import connect, query
from tests.support.run import until

ENDLESS = "WITH RECURSIVE endless(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM endless) SELECT count(*) FROM endless"
INSERT = "INSERT INTO t (a) VALUES ($1)"


@pytest.fixture
def lent(tmp_path):
    connection = connect(tmp_path / "db")
    connection.execute("CREATE TABLE t (a)")
    yield LentSql(connection, SqliteSql(connection))
    connection.close()


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


def test_what_was_taken_away_is_rolled_back_and_refuses_further_use(lent, tmp_path):
    lent.run(lambda: run_sync(lent._sql.changed("BEGIN IMMEDIATE")))
    assert 1 == run_sync(lent.changed(INSERT, 1))
    lent.take_away()
    for use in (lambda: run_sync(lent.changed(INSERT, 2)), lambda: run_sync(lent.rows("SELECT 1 AS n"))):
        with pytest.raises(EventseamError, match="ran longer than its timeout_seconds"):
            use()
    assert [] == query(tmp_path / "db", "SELECT * FROM t")
    query(tmp_path / "db", "INSERT INTO t VALUES (3)")


@pytest.mark.parametrize("order", ["take_away end", "end take_away"])
def test_a_connection_is_closed_when_it_is_taken_and_its_body_over_whichever_comes_first(lent, order):
    first, second = order.split()
    getattr(lent, first)()
    lent._connection.execute("SELECT 1")
    getattr(lent, second)()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        lent._connection.execute("SELECT 1")


async def _store(tmp_path):
    store = SqliteStore(str(tmp_path / "db"), Seams(), SqliteOptions(durability="normal"))
    await store.migrate(["CREATE TABLE IF NOT EXISTS t (a);"])
    return store


async def test_a_body_that_swallows_the_interruption_and_writes_again_writes_nothing(tmp_path):
    store, started, ended, errors = await _store(tmp_path), threading.Event(), threading.Event(), []

    def body(sql):
        run_sync(sql.changed(INSERT, 1))
        started.set()
        for _ in range(50):
            try:
                run_sync(sql.rows(ENDLESS))
            except (sqlite3.Error, EventseamError) as error:
                errors.append(error)
            try:
                run_sync(sql.changed(INSERT, 2))
            except EventseamError as error:
                errors.append(error)
        ended.set()

    hanging = asyncio.ensure_future(store.blocking(body))
    await until(started.is_set)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    await store.write(lambda sql: sql.changed(INSERT, 9))
    await until(ended.is_set)
    assert [(9,)] == query(tmp_path / "db", "SELECT a FROM t")
    assert EventseamError is type(errors[-1])
    await store.close()


async def test_a_body_is_taken_away_from_at_any_moment_without_harm(tmp_path, release):
    store = await _store(tmp_path)

    def body(sql):
        for n in range(100_000):
            run_sync(sql.changed(INSERT, n))
            run_sync(sql.rows("SELECT count(*) FROM t"))

    for step in range(25):
        hanging = asyncio.ensure_future(store.blocking(body))
        await asyncio.sleep(0.001 * step)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await store.write(lambda sql, step=step: sql.changed(INSERT, -1 - step))
    assert [(-1 - step,) for step in range(25)] == query(tmp_path / "db", "SELECT a FROM t")
    await store.close()
