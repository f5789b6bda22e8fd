"""What a user's SQL may not say on PostgreSQL, because it would concern other messages, or whoever comes next."""

from __future__ import annotations

from contextlib import suppress

import asyncpg
import psycopg
import pytest

from eventseam import EventseamError, Seams, StorageUnavailable
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from tests.storage.suite import INSERT, WAYS, contents
from tests.support.postgres import query

TABLE = "CREATE TABLE IF NOT EXISTS t (id bigserial PRIMARY KEY, a bigint, b text);"
ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def store(postgres_url):
    return PostgresStore(postgres_url, Seams(), PostgresOptions(durability="normal"))


@ways
async def test_several_statements_in_one_text_are_refused_so_that_no_commit_hides_among_them(store, postgres_url, way):
    await store.migrate([TABLE])
    several = "INSERT INTO t (a) VALUES (1); COMMIT; INSERT INTO t (a) VALUES (2)"
    for call in (lambda sql: sql.changed(several), lambda sql: sql.rows(several), lambda sql: sql.many(several, [()])):
        with pytest.raises((asyncpg.PostgresSyntaxError, psycopg.errors.SyntaxError), match="multiple commands"):
            await way(store, call)
    assert [] == query(postgres_url, "SELECT a FROM t")
    await store.close()


@ways
@pytest.mark.parametrize("setting", ["SET statement_timeout = 7", "set search_path to x", "/* */ RESET ROLE"])
async def test_a_setting_that_outlives_its_transaction_is_refused(store, way, setting):
    await store.migrate([TABLE])
    with pytest.raises(EventseamError, match="write SET LOCAL"):
        await way(store, lambda sql: sql.rows(setting))
    await store.close()


@ways
@pytest.mark.parametrize("statement", ["DEALLOCATE ALL", "discard all", "/* */ DISCARD PLANS", "-- x\nDeallocate x"])
async def test_what_takes_prepared_statements_away_is_refused(store, way, statement):
    await store.migrate([TABLE])
    with pytest.raises(EventseamError, match="what others have prepared"):
        await way(store, lambda sql: sql.rows(statement))
    await store.close()


@ways
async def test_what_a_function_has_deallocated_is_prepared_again(store, postgres_url, way):
    await store.migrate([TABLE])
    deallocate = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"

    async def again(sql):
        return await sql.changed(INSERT, 1, "x")

    assert 1 == await way(store, again)
    with suppress(EventseamError, asyncpg.PostgresError, psycopg.Error):
        await way(store, lambda sql: sql.rows(deallocate))
    for _ in range(9):  # on whatever connection
        with suppress(StorageUnavailable):
            await way(store, again)
    assert 1 == await way(store, again)
    await store.close()


@ways
async def test_sql_with_a_nul_in_it_is_refused(store, way):
    await store.migrate([TABLE])
    with pytest.raises(EventseamError, match="a NUL character"):
        await way(store, lambda sql: sql.rows("SELECT 1 AS th\0anked"))
    await store.close()


@ways
@pytest.mark.parametrize("statement", ["commit", "ROLLBACK", "end"])
async def test_one_word_that_ends_the_transaction_is_told_as_such(store, way, statement):
    await store.migrate([TABLE])
    with pytest.raises(EventseamError, match="the transaction is not the handler's to end"):
        await way(store, lambda sql: sql.rows(statement))
    await store.close()


@ways
async def test_a_setting_of_one_transaction_does_not_reach_the_next(store, way):
    await store.migrate([TABLE])

    async def shown(sql):
        await sql.rows("SET LOCAL statement_timeout = '7s'")
        return (await sql.rows("SHOW statement_timeout"))[0][0]

    assert "7s" == await way(store, shown)
    assert "30s" == (await way(store, lambda sql: sql.rows("SHOW statement_timeout")))[0][0]
    await store.close()


@ways
@pytest.mark.parametrize(
    "statement", ["SAVEPOINT one", "ROLLBACK TO one", "-- \nrelease SAVEPOINT one", "SET LOCAL search_path = other"]
)
async def test_a_recorded_statement_may_not_undo_or_redirect_those_of_other_messages(store, way, statement):
    await store.migrate([TABLE])

    async def recorded(sql):
        await sql.changed(INSERT, 1, "x")
        await sql.many(statement, [()])

    with pytest.raises(EventseamError, match="would concern the other messages"):
        await way(store, recorded)
    assert [] == await contents(store)
    await store.close()
