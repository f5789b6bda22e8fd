"""How a user's SQL is bound: by number, in order, whatever stands inside quotes and comments."""

from __future__ import annotations

import sqlite3

import pytest

from eventseam.ports.sql import run_sync
from eventseam.storage.sqlite_binding import SqliteSql


@pytest.fixture
def connection():
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.execute("CREATE TABLE t (n INTEGER PRIMARY KEY AUTOINCREMENT, a, b)")
    yield made
    made.close()


def test_placeholders_bind_by_number_not_by_appearance(connection):
    run_sync(SqliteSql(connection).rows("INSERT INTO t (a, b) VALUES ($2, $1)", "one", "two"))
    assert [("two", "one")] == connection.execute("SELECT a, b FROM t").fetchall()


def test_dollars_inside_quotes_and_comments_are_text(connection):
    run_sync(SqliteSql(connection).rows("INSERT INTO t (a, b) VALUES ('costs $2', $1) -- not $3\n /* nor $4 */", "x"))
    assert [("costs $2", "x")] == connection.execute("SELECT a, b FROM t").fetchall()


@pytest.mark.parametrize("count", [1, 24, 25, 26, 60])
def test_many_rows_arrive_whole_and_in_order(connection, count):
    rows = [(index, f"row {index}") for index in range(count)]
    run_sync(SqliteSql(connection).many("INSERT INTO t (a, b) VALUES ($1, $2)", rows))
    assert [(index + 1, index, f"row {index}") for index in range(count)] == connection.execute(
        "SELECT n, a, b FROM t ORDER BY n"
    ).fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t (a, b) VALUES ($2, $1)",
        "INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        "INSERT INTO t (a, b) VALUES ($1, upper($2))",
        "INSERT INTO t (a, b) SELECT $1, $2",
    ],
)
def test_statements_that_are_no_plain_insert_run_row_by_row(connection, statement):
    run_sync(SqliteSql(connection).many(statement, [(index, "b") for index in range(60)]))
    assert 60 == connection.execute("SELECT count(*) FROM t").fetchone()[0]


def test_too_few_and_too_many_arguments_are_refused(connection):
    for rows in ([(1,)] * 30, [(1, 2, 3)] * 30, [(1,), (1, 2, 3)] * 25):
        with pytest.raises(sqlite3.ProgrammingError):
            run_sync(SqliteSql(connection).many("INSERT INTO t (a, b) VALUES ($1, $2)", rows))
