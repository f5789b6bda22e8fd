"""The SQLite store keeps what the port promises: one snapshot per read, all or nothing per write, trouble named."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest

from eventseam import EventseamError, Seams, StorageError, StorageUnavailable
from eventseam.storage.catalog import parse_statements
from eventseam.storage.sqlite import SqliteOptions, SqliteStore, path_of
from eventseam.storage.sqlite_binding import stored
from eventseam.storage.sqlite_schema import OUR_TABLES
from tests.support.file import connect, query

TABLE = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a, b);"
INSERT = "INSERT INTO t (a, b) VALUES ($1, $2)"


@pytest.fixture
def store(tmp_path):
    return SqliteStore(str(tmp_path / "db"), Seams(), SqliteOptions(durability="normal", busy_seconds=0.05))


async def _all(store):
    return [tuple(row) for row in await store.read(lambda sql: sql.rows("SELECT a, b FROM t ORDER BY id"))]


async def test_a_write_commits_what_it_did(store):
    await store.migrate([TABLE])
    assert 1 == await store.write(lambda sql: sql.changed(INSERT, 1, "x"))
    assert [(1, "x")] == await _all(store)
    await store.close()


async def test_a_write_that_raises_leaves_nothing(store):
    await store.migrate([TABLE])

    async def operation(sql):
        await sql.changed(INSERT, 1, "x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(operation)
    assert [] == await _all(store)
    await store.close()


@pytest.mark.parametrize("count", [0, 1, 24, 25, 26, 50, 77, 500])
async def test_many_writes_every_row_in_order(store, count):
    await store.migrate([TABLE])
    rows = [(n, f"row {n}") for n in range(count)]
    await store.write(lambda sql: sql.many(INSERT, rows))
    assert rows == await _all(store)
    await store.close()


@pytest.mark.parametrize("bad", [(1,), (1, 2, 3)])
async def test_many_refuses_a_row_with_too_few_or_too_many_values(store, bad):
    await store.migrate([TABLE])
    good = [(n, n) for n in range(60)]
    for rows in ([*good, bad], [bad, *good], [bad]):
        with pytest.raises(sqlite3.Error):
            await store.write(lambda sql, rows=rows: sql.many(INSERT, rows))
    assert [] == await _all(store)
    await store.close()


async def test_many_never_shifts_values_from_one_row_into_another(store):
    await store.migrate([TABLE])
    rows = [(1,), (2, 3, 4), *[(n, n) for n in range(60)]]
    with pytest.raises(sqlite3.Error):
        await store.write(lambda sql: sql.many(INSERT, rows))
    assert [] == await _all(store)
    await store.close()


async def test_many_of_one_statement_fails_as_a_whole_at_the_row_that_does_not_fit(store):
    await store.migrate(["CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a NOT NULL, b);"])
    rows = [(None if n == 30 else n, n) for n in range(60)]
    with pytest.raises(sqlite3.IntegrityError):
        await store.write(lambda sql: sql.many(INSERT, rows))
    assert [] == await _all(store)
    await store.close()


async def test_values_that_sqlite_has_no_type_for_are_stored_as_exact_text(store):
    class Colour(Enum):
        RED = "red"

    values = {
        Decimal("1.10"): "1.10",
        UUID(int=5): "00000000-0000-0000-0000-000000000005",
        date(2024, 2, 29): "2024-02-29",
        datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC): "2024-02-29T01:02:03+00:00",
        Colour.RED: "red",
    }
    await store.migrate([TABLE])
    await store.write(lambda sql: sql.many(INSERT, [(value, None) for value in values]))
    assert list(values.values()) == [a for a, _ in await _all(store)] == [stored(value) for value in values]
    await store.close()


async def test_a_dollar_inside_a_text_or_a_comment_is_no_parameter(store):
    await store.migrate([TABLE])
    await store.write(lambda sql: sql.changed("INSERT INTO t (a, b) VALUES ($1, '$2 ''$3''') -- $4", "x"))
    assert [("x", "$2 '$3'")] == await _all(store)
    await store.close()


async def test_parameters_may_be_used_twice_and_in_any_order(store):
    await store.migrate([TABLE])
    await store.write(lambda sql: sql.changed("INSERT INTO t (a, b) VALUES ($2, $1 || $2)", "x", "y"))
    assert [("y", "xy")] == await _all(store)
    await store.close()


async def test_a_read_sees_one_snapshot(store, tmp_path):
    await store.migrate([TABLE])

    async def operation(sql):
        before = (await sql.rows("SELECT count(*) FROM t"))[0][0]
        query(tmp_path / "db", "INSERT INTO t (a) VALUES (1)")
        return before, (await sql.rows("SELECT count(*) FROM t"))[0][0]

    assert (0, 0) == await store.read(operation)
    assert [(1, None)] == await _all(store)
    await store.close()


async def test_a_lock_that_is_held_is_storage_unavailable_and_names_the_fix(store, tmp_path):
    await store.migrate([TABLE])
    holder = connect(tmp_path / "db")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="Another program holds the write lock"):
        await store.write(lambda sql: sql.changed(INSERT, 1, 1))
    holder.execute("ROLLBACK")
    holder.close()
    await store.write(lambda sql: sql.changed(INSERT, 1, 1))
    assert [(1, 1)] == await _all(store)
    await store.close()


async def test_a_full_database_is_storage_unavailable_and_a_constraint_is_not(store, tmp_path):
    await store.migrate([TABLE])
    pages = query(tmp_path / "db", "PRAGMA page_count")[0][0]

    async def fill(sql):
        await sql.rows(f"PRAGMA max_page_count = {pages + 2}")
        await sql.changed("INSERT INTO t (a) VALUES (randomblob(100000))")

    with pytest.raises(StorageUnavailable, match="The disk is full"):
        await store.write(fill)
    with pytest.raises(sqlite3.IntegrityError):
        await store.write(lambda sql: sql.changed("INSERT INTO t (id) VALUES (1), (1)"))
    await store.close()


async def test_a_transaction_that_is_cancelled_leaves_nothing_and_locks_nothing(store):
    await store.migrate([TABLE])
    inside = asyncio.Event()

    async def hang():
        async with store.transaction() as sql:
            await sql.changed(INSERT, 1, 1)
            inside.set()
            await asyncio.sleep(60)

    hanging = asyncio.ensure_future(hang())
    await inside.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    await store.write(lambda sql: sql.changed(INSERT, 2, 2))
    assert [(2, 2)] == await _all(store)
    await store.close()


async def test_writes_of_many_tasks_run_one_after_another(store):
    await store.migrate([TABLE])
    await store.write(lambda sql: sql.changed(INSERT, 0, 0))
    add = "UPDATE t SET a = a + 1"
    await asyncio.gather(*[store.write(lambda sql: sql.changed(add)) for _ in range(50)])
    assert [(50, 0)] == await _all(store)
    await store.close()


async def test_closing_may_be_repeated(store):
    await store.migrate()
    await store.close()
    await store.close()


async def test_migrating_again_changes_nothing(store, tmp_path):
    await store.migrate([TABLE])
    before = query(tmp_path / "db", "SELECT sql FROM sqlite_master ORDER BY name")
    await store.migrate([TABLE])
    assert before == query(tmp_path / "db", "SELECT sql FROM sqlite_master ORDER BY name")
    await store.close()


async def test_a_script_may_hold_triggers_comments_and_semicolons_in_texts(store):
    script = """
    CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a, b); -- one; two
    CREATE TRIGGER IF NOT EXISTS tt AFTER INSERT ON t BEGIN UPDATE t SET b = 'a;b' WHERE id = NEW.id; END;
    """
    await store.migrate([script])
    await store.write(lambda sql: sql.changed(INSERT, 1, "x"))
    assert [(1, "a;b")] == await _all(store)
    await store.close()


def test_paths_come_from_urls():
    assert "shop.db" == path_of("sqlite:///shop.db")
    assert "/var/lib/shop.db" == path_of("sqlite:////var/lib/shop.db")


def test_named_statements_have_one_place_each():
    assert {"one": "SELECT 1", "two": "SELECT\n2"} == parse_statements(
        "-- one: x\nSELECT 1;\n\n-- two: y\nSELECT\n2;\n"
    )
    with pytest.raises(EventseamError, match="'one' is defined twice"):
        parse_statements("-- one: x\nSELECT 1;\n-- one: y\nSELECT 2;\n")


async def test_an_error_keeps_no_open_statement_that_another_thread_would_have_to_free(store):
    await store.migrate(["CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a NOT NULL, b);"])
    with pytest.raises(sqlite3.IntegrityError) as caught:
        await store.write(lambda sql: sql.changed(INSERT, None, 1))
    assert caught.value.__cause__ is None
    cursors = [
        value
        for entry in caught.traceback
        for value in entry.frame.f_locals.values()
        if isinstance(value, sqlite3.Cursor)
    ]
    for cursor in cursors:
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            cursor.fetchone()
    await store.close()


@pytest.mark.parametrize("name", [*OUR_TABLES, "Positions"])
async def test_a_file_in_which_another_program_has_a_table_of_our_name_is_refused_and_left_as_it_is(
    store, tmp_path, name
):
    with closing(sqlite3.connect(tmp_path / "db")) as other:
        other.execute(f"CREATE TABLE {name} (id INTEGER)")
    before = (tmp_path / "db").read_bytes()
    with pytest.raises(StorageError, match=rf"{tmp_path}/db: this file belongs to another program.* '{name}'"):
        await store.migrate()
    with pytest.raises(StorageError, match="Give another path"):
        await store.read(lambda sql: sql.rows("SELECT 1"))
    await store.close()
    assert (before, ["db"]) == ((tmp_path / "db").read_bytes(), [each.name for each in tmp_path.iterdir()])


async def test_a_file_with_tables_of_other_names_is_shared(store, tmp_path):
    with closing(sqlite3.connect(tmp_path / "db")) as other:
        other.execute("CREATE TABLE songs (id INTEGER)")
    await store.migrate()
    await store.migrate()
    tables = {row[0] for row in query(tmp_path / "db", "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {*OUR_TABLES, "songs", "eventseam_migrations", "sqlite_sequence"} == tables
    await store.close()


@pytest.mark.parametrize(
    "path, told",
    [
        ("nope/x.db", "nope/x.db: unable to open database file. There is no folder nope: make it first"),
        (".", ".: unable to open database file. This is a folder: name a file in it."),
        ("leads_nowhere.db", "leads_nowhere.db: unable to open database file. Check the permissions"),
    ],
)
async def test_a_file_that_cannot_be_opened_is_named_as_in_the_url_with_the_reason(tmp_path, monkeypatch, path, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leads_nowhere.db").symlink_to("gone/x.db")
    store = SqliteStore(path, Seams())
    with pytest.raises(StorageUnavailable) as caught:
        await store.migrate()
    assert told in str(caught.value)
    await store.close()
