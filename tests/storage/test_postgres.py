"""PostgreSQL when things go wrong: lost connections, unknown outcomes, deadlocks, locks, time-outs, cancellation."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest

from eventseam import EventseamError, OutcomeUnknown, Seams, StorageUnavailable
from eventseam.ports.sql import Opening, run_sync
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from tests.storage.suite import INSERT, WAYS, contents, in_thread
from tests.support.postgres import connect, connected, cut_off, query
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE IF NOT EXISTS t (id bigserial PRIMARY KEY, a bigint UNIQUE, b text);"
QUICK = PostgresOptions(durability="normal", lock_seconds_max=0.2, answer_seconds_max=0.5, statement_seconds_max=0.5)
SLEEPERS = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE '%%pg_sleep(30)%%' AND pid <> pg_backend_pid() AND datname = current_database()
"""
OPEN = """
SELECT pid FROM pg_stat_activity
WHERE application_name LIKE 'eventseam%%' AND datname = current_database() ORDER BY 1
"""
ways = pytest.mark.parametrize("way", WAYS)


@dataclass
class Acts:
    """Does something at one effect point, once."""

    point: str = ""
    act: Callable[[], object] | None = None
    passed: list[str] = field(default_factory=list)

    def at(self, point: str) -> None:
        self.passed.append(point)
        if point == self.point and self.act is not None:
            act, self.act = self.act, None
            act()


@asynccontextmanager
async def opened(url, options=QUICK, points=None):
    store = PostgresStore(url, Seams(points=points), options)
    try:
        await store.migrate([TABLE])
        yield store
    finally:
        await store.close()


async def until(is_so, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - it is another process that we wait for
            await asyncio.sleep(0.01)


@pytest.fixture
def proxy(postgres_url):
    with Proxy(urlsplit(postgres_url).port) as made:
        yield made


# --- lost connections ---------------------------------------------------------------------------------------------


@ways
async def test_a_connection_lost_in_the_middle_is_storage_unavailable_and_the_next_one_works(postgres_url, way):
    async def operation(sql):
        await sql.changed(INSERT, 1, "x")
        cut_off(postgres_url, "eventseam:%")
        await sql.changed(INSERT, 2, "y")

    async with opened(postgres_url) as store:
        with pytest.raises(StorageUnavailable):
            await way(store, operation)
        await way(store, lambda sql: sql.changed(INSERT, 3, "z"))
        assert [(3, "z")] == await contents(store)


@ways
async def test_a_connection_lost_behind_the_handlers_back_commits_nothing(postgres_url, way):
    async def operation(sql):
        await sql.changed(INSERT, 1, "x")
        cut_off(postgres_url, "eventseam:%")

    async with opened(postgres_url) as store:
        with pytest.raises((StorageUnavailable, OutcomeUnknown)):
            await way(store, operation)
        assert [] == await contents(store)


async def test_a_change_whose_reply_is_lost_has_an_unknown_outcome_and_is_not_made_twice(postgres_url, proxy):
    points = Acts()
    async with opened(proxy.url(postgres_url), points=points) as store:
        await store.change("new_position", "tests", 0)

        def lose_the_reply():
            proxy.swallow(requests=False, answers=True)
            threading.Timer(0.2, proxy.cut).start()

        points.point, points.act = "begin", lose_the_reply
        with pytest.raises(OutcomeUnknown, match="may have committed"):
            await store.change("new_position", "tests", 1)
        proxy.heal()
        assert [(0,), (1,)] == query(postgres_url, "SELECT slot FROM positions WHERE reader = 'tests' ORDER BY slot")


async def test_a_change_that_cannot_be_made_is_storage_unavailable_and_changes_nothing(postgres_url):
    async with opened(postgres_url) as store:
        await store.change("new_position", "tests", 0)
        stranger = connect(postgres_url)
        stranger.execute("BEGIN; LOCK TABLE positions")
        with pytest.raises(StorageUnavailable):
            await store.change("new_position", "tests", 1)
        stranger.close()
        assert 1 == await store.change("new_position", "tests", 1)


@ways
async def test_a_commit_whose_reply_is_lost_has_an_unknown_outcome(postgres_url, proxy, way):
    def lose_the_reply():
        proxy.swallow(requests=False, answers=True)
        threading.Timer(0.2, proxy.cut).start()

    points = Acts()
    async with opened(proxy.url(postgres_url), points=points) as store:
        await way(store, lambda sql: sql.changed(INSERT, 1, "x"))
        points.point, points.act = "pre-commit", lose_the_reply
        with pytest.raises(OutcomeUnknown, match="may have committed"):
            await way(store, lambda sql: sql.changed(INSERT, 2, "y"))
        proxy.heal()
        assert [(1, "x"), (2, "y")] == await contents(store)


@ways
async def test_a_network_that_swallows_everything_is_found_out_in_time(postgres_url, proxy, way):
    points = Acts()
    async with opened(proxy.url(postgres_url), points=points) as store:
        points.point, points.act = "begin", proxy.swallow
        with pytest.raises((StorageUnavailable, TimeoutError)):
            async with asyncio.timeout(2.0 if way is in_thread else 5.0):  # a thread is told by its handler's time-out
                await way(store, lambda sql: sql.changed(INSERT, 1, "x"))
        proxy.heal()
        await way(store, lambda sql: sql.changed(INSERT, 2, "y"))
        assert [(2, "y")] == await contents(store)


async def test_a_server_that_is_gone_is_storage_unavailable_everywhere(postgres_url, proxy):
    async with opened(proxy.url(postgres_url)) as store:
        proxy.refuse()
        for act in (
            lambda: store.ask("revisions", []),
            lambda: store.read(lambda sql: sql.rows("SELECT 1 AS n")),
            *(lambda way=way: way(store, lambda sql: sql.rows("SELECT 1 AS n")) for way in WAYS),
        ):
            with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{proxy.port}"):
                await act()
        proxy.heal()
        assert [] == await contents(store)


async def test_each_new_connection_of_the_tail_is_a_new_generation(postgres_url):
    async with opened(postgres_url) as store:
        await store.ask("revisions", [])
        before = store.generation
        await store.ask("revisions", [])
        cut_off(postgres_url, "eventseam:write%")
        await store.ask("revisions", [])
        assert before == store.generation
        cut_off(postgres_url, "eventseam:poll%")
        with suppress(StorageUnavailable):  # unless the loss was known before
            await store.ask("revisions", [])
        await store.ask("revisions", [])
        assert before + 1 == store.generation


async def test_connections_lost_while_they_were_idle_trouble_nobody(postgres_url):
    async with opened(postgres_url) as store:
        for _ in range(3):
            await asyncio.gather(*[way(store, lambda sql: sql.rows("SELECT 1 AS n")) for way in WAYS * 3])
            cut_off(postgres_url, "eventseam:write%")
            cut_off(postgres_url, "eventseam:handler%")


# --- transactions that do not go through --------------------------------------------------------------------------


@ways
async def test_an_error_that_was_caught_commits_nothing_and_says_so(postgres_url, way):
    async def operation(sql):
        await sql.changed(INSERT, 1, "x")
        try:
            await sql.changed(INSERT, 1, "again")
        except (asyncpg.PostgresError, psycopg.Error):
            return

    async with opened(postgres_url) as store:
        with pytest.raises(EventseamError, match="its error was caught"):
            await way(store, operation)
        assert [] == await contents(store)


@ways
async def test_what_the_commit_refuses_is_the_statements_fault(postgres_url, way):
    table = "CREATE TABLE late (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);"
    async with opened(postgres_url) as store:
        await store.migrate([table])
        with pytest.raises((asyncpg.UniqueViolationError, psycopg.errors.UniqueViolation)):
            await way(store, lambda sql: sql.changed("INSERT INTO late VALUES (1), (1)"))
        assert [(0,)] == query(postgres_url, "SELECT count(*) FROM late")
        await way(store, lambda sql: sql.changed(INSERT, 1, "x"))


async def test_writes_that_deadlock_run_again_by_themselves(postgres_url):
    both, one_is_through = asyncio.Barrier(2), asyncio.Event()
    runs = []

    def swap(first, second):
        async def operation(sql):
            runs.append(first)
            if len(runs) > 2:  # or it may take the lock first that the other waits for, and meet it once more
                await one_is_through.wait()
            await sql.changed("UPDATE t SET b = b || $2 WHERE a = $1", first, f"{first}{second} ")
            if len(runs) <= 2:
                await both.wait()
            await sql.changed("UPDATE t SET b = b || $2 WHERE a = $1", second, f"{first}{second} ")

        return operation

    options = PostgresOptions(durability="normal")
    async with opened(postgres_url, options) as store:
        await store.write(lambda sql: sql.many(INSERT, [(1, ""), (2, "")]))

        async def write(first, second):
            await store.write(swap(first, second))
            one_is_through.set()

        await asyncio.gather(write(1, 2), write(2, 1))
        assert 3 == len(runs)
        found = [sorted(b.split()) for _, b in await contents(store)]
        assert [["12", "21"], ["12", "21"]] == found


@ways
async def test_a_row_that_somebody_else_has_locked_is_storage_unavailable_and_names_the_fix(postgres_url, way):
    async with opened(postgres_url) as store:
        await store.write(lambda sql: sql.changed(INSERT, 1, "x"))
        with connect(postgres_url) as stranger, stranger.transaction():
            stranger.execute("UPDATE t SET b = 'locked'")
            with pytest.raises(StorageUnavailable, match="pg_stat_activity"):
                await way(store, lambda sql: sql.changed("UPDATE t SET b = 'y'"))
        await way(store, lambda sql: sql.changed("UPDATE t SET b = 'z'"))
        assert [(1, "z")] == await contents(store)


@ways
async def test_a_statement_that_runs_too_long_is_its_authors_fault(postgres_url, way):
    async with opened(postgres_url) as store:
        with pytest.raises((asyncpg.QueryCanceledError, psycopg.errors.QueryCanceled)) as caught:
            await way(store, lambda sql: sql.rows("SELECT pg_sleep(30)"))
        assert not store.is_unavailable(caught.value)
        await way(store, lambda sql: sql.changed(INSERT, 1, "x"))


@ways
async def test_a_table_that_changed_its_shape_is_read_anew(postgres_url, way):
    async def read(sql):
        return [tuple(row) for row in await sql.rows("SELECT * FROM t WHERE a = $1", 1)]

    async with opened(postgres_url) as store:
        await store.write(lambda sql: sql.changed(INSERT, 1, "x"))
        for _ in range(4):
            assert [(1, 1, "x")] == await way(store, read)
        query(postgres_url, "ALTER TABLE t ADD COLUMN c int DEFAULT 7")
        try:
            found = await way(store, read)
        except StorageUnavailable:  # a handler's statements are not repeated by the store
            found = await way(store, read)
        assert [(1, 1, "x", 7)] == found


async def test_effect_points_are_passed_in_order(postgres_url):
    points = Acts()
    async with opened(postgres_url, points=points) as store:
        for way in WAYS:
            points.passed.clear()
            await way(store, lambda sql: sql.rows("SELECT 1 AS n"))
            assert ["begin", "pre-commit", "post-commit"] == points.passed


# --- cancellation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [*WAYS, "read"])
async def test_cancelled_in_the_middle_of_a_statement_the_server_stops_it_and_all_goes_on(postgres_url, way):
    async def sleep(sql):
        await sql.rows("SELECT pg_sleep(30)")

    options = PostgresOptions(durability="normal")
    async with opened(postgres_url, options) as store:
        running = asyncio.ensure_future(store.read(sleep) if way == "read" else way(store, sleep))
        await until(lambda: query(postgres_url, SLEEPERS)[0][0] == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: query(postgres_url, SLEEPERS)[0][0] == 0)
        await store.write(lambda sql: sql.changed(INSERT, 1, "x"))
        assert [(1, "x")] == await contents(store)


async def test_a_body_that_hangs_holds_nothing_and_its_further_use_is_refused(postgres_url):
    go_on, told = threading.Event(), []

    def body(sql):
        run_sync(sql.changed(INSERT, 1, "x"))
        go_on.wait(20)
        try:
            run_sync(sql.changed(INSERT, 2, "y"))
        except EventseamError as error:
            told.append(str(error))
            raise

    async with opened(postgres_url) as store:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await store.blocking(body)
        await store.write(lambda sql: sql.changed(INSERT, 1, "z"))
        go_on.set()
        await until(lambda: told)
        assert "ran longer than its timeout_seconds" in told[0]
        assert [(1, "z")] == await contents(store)


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_an_opening_that_waits_too_long_is_trouble_and_leaves_its_connection_usable(postgres_url, in_a_thread):
    opening = Opening("new_position", ("a", 0))

    async def begin(store):
        if in_a_thread:
            await store.blocking(lambda _: None, opening)
        else:
            async with store.transaction(opening):
                pass

    async with opened(postgres_url) as store:
        with connect(postgres_url) as other:
            other.execute("BEGIN; LOCK positions")
            with pytest.raises(StorageUnavailable, match="holds a lock"):
                await begin(store)
            before = query(postgres_url, OPEN)
            other.execute("ROLLBACK")
        await begin(store)
        assert 1 == opening.changed
        assert before == query(postgres_url, OPEN)


async def test_as_many_transactions_run_at_once_as_is_said_and_the_next_one_waits(postgres_url):
    options = PostgresOptions(durability="normal", transactions_max=3)
    inside, go_on = [], asyncio.Event()

    async def one(store):
        async with store.transaction() as sql:
            await sql.rows("SELECT 1 AS n")
            inside.append(1)
            await go_on.wait()

    async with opened(postgres_url, options) as store:
        tasks = [asyncio.ensure_future(one(store)) for _ in range(4)]
        await until(lambda: len(inside) == 3)
        await store.write(lambda sql: sql.changed(INSERT, 1, "a write is not held up"))
        assert 3 == len(inside)
        go_on.set()
        await asyncio.gather(*tasks)
        assert 4 == len(inside)


async def test_closing_waits_for_what_runs_and_leaves_no_connection(postgres_url):
    async with opened(postgres_url) as store:
        await store.ask("revisions", [])
        await in_thread(store, lambda sql: sql.rows("SELECT 1 AS n"))
        running = asyncio.ensure_future(store.write(lambda sql: sql.rows("SELECT pg_sleep(0.2)")))
        await asyncio.sleep(0)
        await store.close()
        await running
    await until(lambda: not [name for name in connected(postgres_url) if name.startswith("eventseam")])


# --- hints --------------------------------------------------------------------------------------------------------


async def test_an_announcement_wakes_the_others_and_not_oneself(postgres_url):
    woken = {"one": 0, "two": 0}

    def wake(name):
        def call():
            woken[name] += 1

        return call

    async with opened(postgres_url) as one, opened(postgres_url) as two:
        hearing = [asyncio.ensure_future(one.hear(wake("one"))), asyncio.ensure_future(two.hear(wake("two")))]
        await until(lambda: woken == {"one": 1, "two": 1})  # each when it begins to listen
        for _ in range(50):
            one.announce()
        await until(lambda: woken["two"] > 1)
        assert {"one": 1, "two": 2} == woken
        cut_off(postgres_url, "eventseam:listen%")
        await until(lambda: woken["one"] > 1 and woken["two"] > 2)
        heard = woken["one"]
        two.announce()
        await until(lambda: woken["one"] > heard)
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
    assert not [name for name in connected(postgres_url) if name.startswith("eventseam:listen")]
