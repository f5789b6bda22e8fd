"""Many rows go by COPY where that means what the INSERT means, and only there."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from eventseam import Seams
from eventseam.journal.append import append
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from tests.storage.suite import drain, message, positions
from tests.support.postgres import query

ROWS = [(n, f"row {n}") for n in range(40)]
TABLES = """
CREATE SCHEMA "Odd Name";
CREATE TABLE "Odd Name"."Some ""Table" (id bigserial, a bigint, b text);
CREATE TABLE "Upper" (id bigserial, "A" bigint, b text);
CREATE TABLE plain (id bigserial, a bigint, b text, c timestamptz DEFAULT now(), CHECK (a < 1000));
CREATE VIEW seen AS SELECT id, a, b FROM plain;
CREATE TABLE ruled (a bigint, b text);
CREATE RULE elsewhere AS ON INSERT TO ruled DO INSTEAD INSERT INTO plain (a, b) VALUES (NEW.a, NEW.b);
CREATE TABLE parts (a bigint, b text) PARTITION BY RANGE (a);
CREATE TABLE parts_one PARTITION OF parts FOR VALUES FROM (0) TO (20);
CREATE TABLE parts_two PARTITION OF parts FOR VALUES FROM (20) TO (1000);
CREATE TABLE guarded (id bigserial, a bigint, b text);
CREATE TABLE kept (id bigint GENERATED ALWAYS AS IDENTITY, a bigint, b text);
"""


@pytest.fixture
def store(postgres_url):
    query(postgres_url, TABLES)
    return PostgresStore(postgres_url, Seams(), PostgresOptions(durability="normal"))


@pytest.mark.parametrize(
    "into, found",
    [
        ("plain (a, b)", "SELECT a, b FROM plain ORDER BY id"),
        ("public.PLAIN (A, b)", "SELECT a, b FROM plain ORDER BY id"),
        ('"Upper" ("A", b)', 'SELECT "A", b FROM "Upper" ORDER BY id'),
        ("seen (a, b)", "SELECT a, b FROM plain ORDER BY id"),
        ("ruled (a, b)", "SELECT a, b FROM plain ORDER BY id"),
        ("parts (a, b)", "SELECT a, b FROM parts ORDER BY a"),
        ('"Odd Name"."Some ""Table" (a, b)', 'SELECT a, b FROM "Odd Name"."Some ""Table" ORDER BY id'),
        ("kept (a, b)", "SELECT a, b FROM kept ORDER BY id"),
    ],
)
async def test_many_rows_reach_whatever_an_insert_reaches(store, postgres_url, into, found):
    insert = f"INSERT INTO {into} VALUES ($1, $2)"
    for _ in range(2):
        await store.write(lambda sql: sql.many(insert, ROWS))
    assert sorted(ROWS * 2) == sorted(query(postgres_url, found))
    assert ROWS == query(postgres_url, found)[:40] or into.startswith("parts")
    await store.close()


async def test_row_level_security_refuses_what_it_would_refuse_and_no_more(store, postgres_url):
    query(
        postgres_url,
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; ALTER TABLE guarded FORCE ROW LEVEL SECURITY; "
        "CREATE POLICY low ON guarded USING (true) WITH CHECK (a < 100); "
        "DROP ROLE IF EXISTS guest_of_copy; CREATE ROLE guest_of_copy; "
        "GRANT ALL ON guarded, guarded_id_seq TO guest_of_copy",
    )
    insert = "INSERT INTO guarded (a, b) VALUES ($1, $2)"

    async def as_guest(sql, rows):
        await sql.rows("SET LOCAL ROLE guest_of_copy")
        await sql.many(insert, rows)

    await store.write(lambda sql: as_guest(sql, ROWS))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="violates row-level security"):
        await store.write(lambda sql: as_guest(sql, [*ROWS, (500, "high")]))
    assert [(40,)] == query(postgres_url, "SELECT count(*) FROM guarded")
    await store.close()
    query(postgres_url, "DROP OWNED BY guest_of_copy; DROP ROLE guest_of_copy")


async def test_a_row_that_the_table_refuses_undoes_all_with_the_tables_own_error(store, postgres_url):
    insert = "INSERT INTO plain (a, b) VALUES ($1, $2)"
    with pytest.raises(asyncpg.CheckViolationError):
        await store.write(lambda sql: sql.many(insert, [*ROWS, (1000, "too high")]))
    with pytest.raises(asyncpg.DataError, match="plain"):
        await store.write(lambda sql: sql.many(insert, [*ROWS, ("high", "x")]))
    assert [] == query(postgres_url, "SELECT a FROM plain")
    await store.write(lambda sql: sql.many(insert, ROWS))
    assert [(40, 0)] == query(postgres_url, "SELECT count(*), count(*) FILTER (WHERE c IS NULL) FROM plain")
    await store.close()


async def test_a_number_of_an_identity_column_is_refused_as_ever(store):
    with pytest.raises(asyncpg.GeneratedAlwaysError):
        await store.write(lambda sql: sql.many("INSERT INTO kept (id, b) VALUES ($1, $2)", ROWS))
    await store.close()


async def test_a_table_that_was_replaced_by_a_view_is_written_all_the_same(store, postgres_url):
    insert = "INSERT INTO plain (a, b) VALUES ($1, $2)"
    await store.write(lambda sql: sql.many(insert, ROWS))
    query(postgres_url, "ALTER TABLE plain RENAME TO base; CREATE VIEW plain AS SELECT * FROM base")
    await store.write(lambda sql: sql.many(insert, ROWS))
    assert ROWS * 2 == query(postgres_url, "SELECT a, b FROM base ORDER BY id")
    await store.close()


async def test_cancelled_in_the_middle_of_a_copy_nothing_is_kept_and_all_goes_on(store, postgres_url):
    insert = "INSERT INTO plain (a, b) VALUES ($1, $2)"
    rows = [(n % 1000, "x" * 1_000) for n in range(20_000)]
    for step in range(12):
        writing = asyncio.ensure_future(store.write(lambda sql: sql.many(insert, rows)))
        for _ in range(2 + step):
            await asyncio.sleep(0)
        await asyncio.sleep(step / 200)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        kept = query(postgres_url, "SELECT count(*) FROM plain")[0][0]
        assert 0 == kept % len(rows)
    await store.write(lambda sql: sql.many(insert, ROWS))
    await store.close()


async def test_many_appended_messages_are_what_few_are(store):
    await store.migrate()
    await positions(store)
    bodies = ['{"n":%d}', '{"a":"\\u0000","n":%d}', '{"a":"\\\\u0000","n":%d}', '{"a":"\U0001f600","n":%d}']
    rows = [(*message(n, f"key {n % 7}")[:3], bodies[n % 4] % n, *message(n)[4:]) for n in range(64)]
    await store.write(lambda sql: append(sql, rows[:32]))
    for row in rows[32:]:
        await store.write(lambda sql, row=row: append(sql, [row]))
    found = {each: (body if isinstance(body, str) else body.decode()) for _, each, body in await drain(store)}
    assert {str(row[5]): str(row[3]) for row in rows} == {each: body.replace(" ", "") for each, body in found.items()}
    both = await store.read(
        lambda sql: sql.rows(
            "SELECT count(*), count(DISTINCT x), count(DISTINCT (aggregate_type, event_type, source, created_at)) "
            "FROM event_outbox"
        )
    )
    assert (64, 33, 1) == tuple(both[0])
    await store.close()
