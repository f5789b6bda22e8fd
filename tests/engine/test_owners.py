"""G5: one owner at a time. The next one comes as soon as it may, and an owner that was replaced applies nothing."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from contextlib import AsyncExitStack

from eventseam import Ctx, SyncTx
from eventseam.ports.probe import OwnershipChanged
from tests.support.file import give_slots_to, heard, insert, query, unsettled
from tests.support.run import make_app, running, seen, until
from tests.support.spawn import other_engine
from tests.support.talk import HEARD, PATIENT, QUICK, Said, ears, hear

LONG = 3_600.0


def _listening(calls=None, delay=0.0):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if calls is not None:
            calls.append(message.n)
        await asyncio.sleep(delay)
        hear(ctx, message)

    return service


def _states(app):
    return [each.state for each in seen(app).of(OwnershipChanged)]


async def test_a_second_engine_on_one_file_waits_and_takes_over_at_once_when_the_first_ends(tmp_path):
    path, calls = tmp_path / "db", []
    second = make_app(path, _listening(calls), lease_seconds=LONG)
    async with AsyncExitStack() as stack:
        async with running(path, _listening(), lease_seconds=LONG) as first:
            await first.wait_idle()
            await stack.enter_async_context(second.running())
            await until(lambda: _states(second) == ["waiting"])
            await second.publish(second.services[0], *[Said("ann", n) for n in range(5)])
            await first.wait_idle()
            assert ([], [0, 1, 2, 3, 4]) == (calls, heard(path))
        await until(lambda: _states(second) == ["waiting", "owned"], seconds=5)
        await second.publish(second.services[0], Said("ann", 5))
        await second.wait_idle()
    assert ([5], [0, 1, 2, 3, 4, 5]) == (calls, heard(path))


async def test_the_process_of_an_owner_that_is_killed_is_replaced_at_once_and_loses_nothing(tmp_path):
    path = tmp_path / "db"
    with other_engine(path, LONG, delay_seconds=0.005) as other:
        for n in range(100):
            insert(path, f"k{n % 5}", f'{{"who":"k{n % 5}","n":{n}}}')
        await until(lambda: len(heard(path)) > 5)
        async with running(path, _listening(), lease_seconds=LONG) as app:
            await until(lambda: _states(app) == ["waiting"])
            killed = time.monotonic()
            other.kill()
            other.wait()
            await until(lambda: _states(app) == ["waiting", "owned"], seconds=5)
            assert time.monotonic() - killed < 5
            await app.wait_idle()
    for key in range(5):
        assert list(range(key, 100, 5)) == heard(path, who=f"k{key}")


def _stop_between_two_transactions(process, path):
    """SIGSTOP a process that does not hold the write lock: one that does stops every writer of the file with it.

    PostgreSQL ends such a transaction by itself: see tests/owners.
    """
    for _ in range(100):
        process.send_signal(signal.SIGSTOP)
        if isinstance(path, str):
            return
        connection = sqlite3.connect(path, timeout=0.2, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
        else:
            connection.execute("ROLLBACK")
            return
        finally:
            connection.close()
    raise AssertionError("it holds the lock whenever it is looked at")


async def test_an_owner_that_is_stopped_is_replaced_after_its_lease_and_applies_nothing_when_it_wakes(tmp_path):
    path = tmp_path / "db"
    with other_engine(path, 1.0, delay_seconds=0.02) as other:
        for n in range(200):
            insert(path, f"k{n % 5}", f'{{"who":"k{n % 5}","n":{n}}}')
        await until(lambda: len(heard(path)) > 5)
        _stop_between_two_transactions(other, path)
        before = len(heard(path))
        async with running(path, _listening(), lease_seconds=1.0) as app:
            await until(lambda: "owned" in _states(app))
            await app.wait_idle()
            assert before < len(heard(path)) == 200
            other.send_signal(signal.SIGCONT)
            for n in range(200, 220):
                insert(path, f"k{n % 5}", f'{{"who":"k{n % 5}","n":{n}}}')
            await until(lambda: len(heard(path)) >= 220)
            await app.wait_idle()
    for key in range(5):
        assert list(range(key, 220, 5)) == heard(path, who=f"k{key}")


async def test_an_owner_whose_place_was_taken_applies_nothing_of_what_it_had(tmp_path):
    path, service = tmp_path / "db", ears()
    go, started = asyncio.Event(), asyncio.Event()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        started.set()
        await go.wait()
        hear(ctx, message)

    async with running(path, service, lease_seconds=LONG) as app:
        await app.publish(service, Said("ann", 1))
        await started.wait()
        give_slots_to(path, "elsewhere:1:x", LONG)
        go.set()
        await until(lambda: "lost" in _states(app))
        await until(lambda: _states(app)[-1] == "waiting")
        assert [] == heard(path)
        assert [(0,)] == query(path, "SELECT count(*) FROM processed_events")
        query(path, "UPDATE positions SET owner = NULL, rev = rev + 1")
        await app.wait_idle()
    assert [1] == heard(path)


async def test_a_tx_handler_whose_owner_was_replaced_commits_nothing(tmp_path):
    path, service, calls = tmp_path / "db", ears(), []

    @service.on_tx(Said)
    def on_said(message: Said, tx: SyncTx) -> None:
        calls.append(message.n)
        tx.execute(HEARD, "hear", message.who, message.n)

    async with running(path, service, lease_seconds=LONG) as app:
        await app.wait_idle()
        give_slots_to(path, "elsewhere:1:x", LONG)
        await app.publish(service, Said("ann", 1))
        await until(lambda: _states(app)[-1] == "waiting")
        assert [] == heard(path) == calls
        query(path, "UPDATE positions SET owner = NULL, rev = rev + 1")
        await app.wait_idle()
    assert [1] == heard(path) == calls


async def test_an_owner_that_was_fenced_by_accident_goes_on_at_once(tmp_path):
    path = tmp_path / "db"
    async with running(path, _listening(), lease_seconds=LONG) as app:
        await app.wait_idle()
        query(path, "UPDATE positions SET rev = rev + 1")
        await app.publish(app.services[0], *[Said("ann", n) for n in range(10)])
        await app.wait_idle(10)
    assert list(range(10)) == heard(path)


async def test_retries_of_a_fenced_owner_are_taken_over_with_their_attempts(tmp_path):
    path, service = tmp_path / "db", ears()
    broken = True

    @service.on(Said, retry=PATIENT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if broken:
            raise ConnectionError("down")
        hear(ctx, message)

    async with running(path, service, lease_seconds=LONG) as app:
        await app.publish(service, *[Said("ann", n) for n in range(3)])
        await until(lambda: any(attempts > 2 for *_, attempts in unsettled(path)))
        query(path, "UPDATE positions SET rev = rev + 1")
        attempts = unsettled(path)[0][3]
        await until(lambda: unsettled(path)[0][3] > attempts + 2)
        broken = False
        await app.wait_idle()
    assert [0, 1, 2] == heard(path)


async def test_a_message_that_fails_late_for_an_old_owner_does_not_touch_the_lane_of_the_new_one(tmp_path):
    path, service = tmp_path / "db", ears()
    go, started, calls = asyncio.Event(), asyncio.Event(), 0

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            started.set()
            await go.wait()
            raise ValueError("late")
        await asyncio.sleep(0.01)
        hear(ctx, message)

    async with running(path, service, lease_seconds=LONG) as app:
        await app.publish(service, *[Said("ann", n) for n in range(5)])
        await started.wait()
        query(path, "UPDATE positions SET rev = rev + 1")
        await app.publish(service, Said("bob", 9))
        await until(lambda: calls >= 4)
        go.set()
        await app.wait_idle()
    assert [0, 1, 2, 3, 4] == heard(path, who="ann")
    assert [9] == heard(path, who="bob")


async def test_services_are_owned_apart(tmp_path):
    path = tmp_path / "db"
    left, right = ears("left"), ears("right")
    for service in (left, right):

        @service.on(Said)
        async def listen(message: Said, ctx: Ctx, name: str = service.name) -> None:
            hear(ctx, message, name)

    both = (left, right)
    one, other = make_app(path, *both, lease_seconds=LONG), make_app(path, *both, lease_seconds=LONG)
    async with one.running(only=["left"]), other.running(only=["right"]):
        await one.publish(left, *[Said("ann", n) for n in range(10)])
        await until(lambda: heard(path, "left") == heard(path, "right") == list(range(10)))
        assert 2 == len(set(query(path, "SELECT owner FROM positions")))
