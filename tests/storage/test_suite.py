"""Every driver keeps what the suite says, in each of the ways to run an operation."""

from __future__ import annotations

import inspect
import sqlite3

import asyncpg
import psycopg
import pytest

from eventseam import Seams
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from eventseam.storage.sqlite import SqliteOptions, SqliteStore
from tests.storage import suite, suite_values

CASES = [
    each
    for module in (suite, suite_values)
    for each in vars(module).values()
    if inspect.iscoroutinefunction(each)
    and each.__module__ == module.__name__
    and next(iter(inspect.signature(each).parameters)) == "bench"
]
PAIRS = [
    pytest.param(case, way, id=f"{case.__name__}-{way.__name__}" if way else case.__name__)
    for case in CASES
    for way in (suite.WAYS if "way" in inspect.signature(case).parameters else (None,))
]


def sqlite(tmp_path, _request) -> suite.Bench:
    table = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c NUMERIC);"
    options = SqliteOptions(durability="normal")
    return suite.Bench(lambda: SqliteStore(str(tmp_path / "db"), Seams(), options), table, (sqlite3.Error,))


def postgresql(_tmp_path, request) -> suite.Bench:
    url = request.getfixturevalue("postgres_url")
    table = "CREATE TABLE IF NOT EXISTS t (id bigserial PRIMARY KEY, a bigint, b text, c numeric);"
    options = PostgresOptions(durability="normal")
    errors = (asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error)
    return suite.Bench(lambda: PostgresStore(url, Seams(), options), table, errors)


@pytest.mark.parametrize("case, way", PAIRS)
@pytest.mark.parametrize("driver", [sqlite, postgresql])
async def test_the_suite(driver, case, way, tmp_path, request):
    bench = driver(tmp_path, request)
    try:
        await (case(bench, way) if way else case(bench))
    finally:
        await bench.store.close()
