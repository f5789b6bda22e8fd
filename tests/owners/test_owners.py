"""G2, G3, G5 with several processes of one service: kill -9, SIGSTOP beyond the lease, lost networks, even shares."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest

from eventseam import App, Seams, Settings
from eventseam.ports.probe import OwnershipChanged
from eventseam.storage.postgres import PostgresStore
from tests.owners.audit import CLEAN, Verdict, audit, judged
from tests.owners.stage import Troupe, run_worker, troupe
from tests.owners.worker import Drawn, Plan, drawing
from tests.owners.writers import INSERT
from tests.support.file import give_slots_to, unfinished
from tests.support.postgres import connect, query
from tests.support.proxy import Proxy
from tests.support.run import Seen, seen, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("owners")]


def _app(url: str, form: str = "record", lease: float = 0.6) -> App:
    settings = Settings(database=url, durability="normal", lease_seconds=lease, grace_seconds=0.5)
    return App(drawing(form), settings=settings, probe=Seen())


def _draw(url: str, numbers: range, keys: int = 16) -> dict[str, int]:
    """Draw numbers of some keys as foreign programs do; the last of each key."""
    with connect(url) as connection, connection.pipeline():
        for n in numbers:
            for key in range(keys):
                connection.execute(INSERT, (f"k{key}", f"k{key}", n))
    return {f"k{key}": numbers[-1] for key in range(keys)}


def _shares(url: str) -> list[int]:
    """How many slots each owner has, the largest share first; slots that nobody has are left out."""
    found = query(url, "SELECT count(*) FROM positions WHERE owner IS NOT NULL GROUP BY owner ORDER BY 1 DESC")
    return [row[0] for row in found]


async def _drained(url: str) -> None:
    await until(lambda: not unfinished(url), seconds=40)


# --- many processes -----------------------------------------------------------------------------------------------


def performed(*options: str) -> tuple[int, str]:
    """One performance in a process of its own, which has no threads and may fork."""
    words = [sys.executable, "-m", "tests.owners", "--seed", "7", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("form, locks", [("record", "fence"), ("record", "inbox"), ("tx", "fence")])
def test_nothing_is_lost_doubled_or_inverted_while_processes_are_killed_and_stopped(form, locks):
    code, told = performed("--seconds", "9", "--form", form, "--locks", locks)
    assert (0, "0/0/0") == (code, verdict_of(told)), told


def verdict_of(told: str) -> str:
    """Lost, doubled and inverted; a driver whose connection was cut may have its say after that."""
    return re.findall(r"\d+/\d+/\d+$", told, re.MULTILINE)[-1]


def cries(*options: str) -> bool:
    """Whether the audit finds something, in one run of six: in some nobody is stopped at a bad moment."""
    for seed in range(6):
        code, told = performed(*options, "--locks", "neither", "--seed", f"{seed}")
        if verdict_of(told) != "0/0/0":
            assert 0 == code, told
            return True
    return False


@pytest.mark.timeout(300)
def test_without_inbox_and_fence_the_audit_cries():
    assert cries("--seconds", "9", "--form", "record")


def test_the_audit_tells_what_is_lost_from_what_is_doubled_and_what_is_inverted():
    drawn = {"a": 3, "b": 1}
    assert CLEAN == judged(drawn, [("a", 1), ("b", 1), ("a", 2), ("a", 3)])
    assert Verdict(1, 0, 0) == judged(drawn, [("a", 1), ("a", 2), ("a", 3)])
    assert Verdict(0, 2, 0) == judged(drawn, [("a", 1), ("b", 1), ("a", 2), ("a", 1), ("a", 2), ("a", 3)])
    assert Verdict(0, 0, 1) == judged(drawn, [("a", 1), ("b", 1), ("a", 3), ("a", 2)])


# --- shares -------------------------------------------------------------------------------------------------------


async def test_owners_share_the_slots_evenly_and_nothing_is_handled_twice_when_shares_change(postgres_url):
    drawn: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        apps = [await stack.enter_async_context(_app(postgres_url, lease=3.0).running())]
        drawn |= _draw(postgres_url, range(1, 20))
        for shares in ([8, 8], [6, 6, 4]):
            apps.append(await stack.enter_async_context(_app(postgres_url, lease=3.0).running()))
            await until(lambda shares=shares: _shares(postgres_url) == shares)
            last = max(drawn.values())
            drawn |= _draw(postgres_url, range(last + 1, last + 20))
        await _drained(postgres_url)
        assert [] == [each for app in apps for each in seen(app).of(OwnershipChanged) if each.state == "lost"]
    assert CLEAN == audit(postgres_url, drawn)


async def test_who_gives_slots_back_finishes_what_runs_there_first(postgres_url):
    first, calls, go = _app(postgres_url, lease=3.0), [], asyncio.Event()

    @first.services[0].on(Drawn)
    async def slow(event: Drawn) -> None:
        calls.append(event)
        await go.wait()

    async with first.running():
        _draw(postgres_url, range(1, 2))
        await until(lambda: len(calls) == 16)
        async with _app(postgres_url, lease=3.0).running():
            await asyncio.sleep(0.1)
            assert [16] == _shares(postgres_url)
            await until(lambda: first_is_leaving(first))
            go.set()
            await until(lambda: _shares(postgres_url) == [8, 8])
    assert 16 == len(calls)


def first_is_leaving(app: App) -> bool:
    """Whether the owner knows by now that it has too many slots."""
    room = app._room
    assert room is not None
    shift = room.engines["draw"].shift
    return shift is not None and len(shift.leaving) == 8


async def test_who_cannot_finish_in_time_drops_what_runs_and_takes_its_share_only(postgres_url):
    """What it had beyond its share was once renewed for ever, and read by nobody."""
    first, go = _app(postgres_url), asyncio.Event()

    @first.services[0].on(Drawn)
    async def slow(event: Drawn) -> None:
        await go.wait()

    async with first.running():
        drawn = _draw(postgres_url, range(1, 3))
        await until(lambda: query(postgres_url, "SELECT 1 FROM seen"))
        async with first_and(postgres_url):
            await until(lambda: _shares(postgres_url) == [8, 8])
            go.set()
            await _drained(postgres_url)
    assert CLEAN == audit(postgres_url, drawn)


def first_and(url: str):
    """A second owner with the same handlers, none of them slow."""
    second = _app(url)

    @second.services[0].on(Drawn)
    async def slow(event: Drawn) -> None: ...

    return second.running()


async def test_nobody_claims_a_slot_that_it_has_though_its_lease_is_over(postgres_url):
    """What runs there would pass the fence beside a new beginning of the same slot."""
    store = PostgresStore(postgres_url, Seams())
    await store.migrate()
    add = "INSERT INTO positions (reader, slot, owner, lease_until) VALUES ('draw', 3, 'me', now() - interval '1 s')"
    query(postgres_url, add)
    for who, found in (("me", []), ("you", [3])):
        claimed = await store.write(lambda sql, who=who: sql.rows("claim", "draw", who, 5.0, 0.0, 16, []))
        assert found == [row[0] for row in claimed]
    await store.close()


async def test_an_owner_that_ends_leaves_its_slots_to_the_others_at_once(postgres_url):
    async with _app(postgres_url, lease=2.0).running():
        async with _app(postgres_url, lease=2.0).running():
            await until(lambda: _shares(postgres_url) == [8, 8])
        began = time.monotonic()
        await until(lambda: _shares(postgres_url) == [16])
        assert time.monotonic() - began < 2.0


# --- ends of an owner ---------------------------------------------------------------------------------------------


@pytest.fixture
def actors(tmp_path):
    with troupe(tmp_path) as made:
        yield made
        made.check()


async def test_the_slots_of_a_process_that_was_killed_here_are_taken_over_before_its_lease_ends(postgres_url, actors):
    plan = Plan(postgres_url, lease_seconds=3.0)
    victim = actors.start(lambda: run_worker(plan))
    await until(lambda: query(postgres_url, "SELECT to_regclass('positions')") != [(None,)])
    await until(lambda: _shares(postgres_url) == [16])
    async with _app(postgres_url, lease=3.0).running():
        await until(lambda: _shares(postgres_url) == [8, 8])
        killed = time.monotonic()
        actors.kill(victim)
        await until(lambda: _shares(postgres_url) == [16])
        assert time.monotonic() - killed < 2.5  # it looks once in a third of the lease
        drawn = _draw(postgres_url, range(1, 5))
        await _drained(postgres_url)
    assert CLEAN == audit(postgres_url, drawn)


async def test_an_owner_whose_network_is_dead_loses_its_lease_and_applies_nothing_afterwards(postgres_url):
    with Proxy(urlsplit(postgres_url).port) as proxy:
        far = _app(proxy.url(postgres_url), lease=1.0)
        async with far.running():
            await until(lambda: _shares(postgres_url) == [16])
            async with _app(postgres_url, lease=1.0).running():
                await until(lambda: _shares(postgres_url) == [8, 8])
                proxy.swallow()
                drawn = _draw(postgres_url, range(1, 10))
                await until(lambda: _shares(postgres_url) == [16])
                await _drained(postgres_url)
                proxy.heal()
                await until(lambda: _shares(postgres_url) == [8, 8])
                drawn |= _draw(postgres_url, range(10, 20))
                await _drained(postgres_url)
    assert CLEAN == audit(postgres_url, drawn)


@pytest.mark.parametrize("form", ["record", "tx", "tx in a thread"])
async def test_an_owner_whose_slots_were_given_to_another_applies_nothing_of_what_it_had(postgres_url, form):
    app = _app(postgres_url, form, lease=3_600.0)
    async with app.running():
        await until(lambda: _shares(postgres_url) == [16])
        with connect(postgres_url) as other:
            other.execute("BEGIN; LOCK seen")
            drawn = _draw(postgres_url, range(1, 3))
            await asyncio.sleep(0.1)
            give = "UPDATE positions SET owner = 'elsewhere:1:x', lease_until = 'infinity', rev = rev + 1"
            waiting = asyncio.create_task(asyncio.to_thread(query, postgres_url, give))
            await asyncio.sleep(0.1)
            other.execute("ROLLBACK")
        await waiting
        applied = query(postgres_url, "SELECT count(*) FROM seen")
        await until(lambda: seen(app).of(OwnershipChanged)[-1].state == "waiting")
        assert applied == query(postgres_url, "SELECT count(*) FROM seen")
        give_slots_to(postgres_url, "nobody:1:x", -1.0)
        await _drained(postgres_url)
    assert CLEAN == audit(postgres_url, drawn)


# --- stopped in the middle of a transaction -----------------------------------------------------------------------


async def test_the_locks_of_a_process_that_is_stopped_within_a_transaction_are_freed(postgres_url, actors: Troupe):
    """Its session is ended by idle_in_transaction_session_timeout: others go on before it wakes, and it does not.

    The statement was prepared before: between preparing and running one, it is statement_timeout that ends it.
    """
    plan = Plan(postgres_url, "tx", lease_seconds=0.6)
    victim = actors.start(lambda: run_worker(plan))
    await until(lambda: query(postgres_url, "SELECT to_regclass('seen')") != [(None,)])
    await until(lambda: _shares(postgres_url) == [16])
    _draw(postgres_url, range(1, 2), keys=1)
    await until(lambda: query(postgres_url, "SELECT 1 FROM seen"))
    with connect(postgres_url) as other:  # the handler waits for this lock, so that it can be stopped behind it
        other.execute("BEGIN; LOCK seen")
        drawn = _draw(postgres_url, range(2, 4), keys=1)
        await until(lambda: query(postgres_url, "SELECT 1 FROM pg_locks WHERE NOT granted"))
        actors.stop(victim, 3_600)
        other.execute("ROLLBACK")
    inside = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
    )
    await until(lambda: query(postgres_url, inside) == [(1,)])
    async with _app(postgres_url, "tx").running():
        await _drained(postgres_url)
        assert 1 == len(actors.stopped)
        assert CLEAN == audit(postgres_url, drawn)
        actors.wake(now=float("inf"))
        await until(lambda: len(_shares(postgres_url)) == 2)
        drawn |= _draw(postgres_url, range(4, 9), keys=1)
        await _drained(postgres_url)
    assert CLEAN == audit(postgres_url, drawn)
