"""The thread pool: a bound on its threads, errors for who awaits, and bodies that hang left behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

import pytest

from eventseam import EventseamError
from eventseam.threads import Threads
from tests.support.run import until


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


def _named(name):
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


async def test_a_body_runs_in_a_thread_of_the_pool_and_its_result_comes_back():
    threads = Threads("pool-a", 2)
    assert (await threads.run(lambda: threading.current_thread().name)).startswith("pool-a-")
    assert 5 == await threads.hurry(lambda: 5)
    threads.close()


async def test_there_are_never_more_threads_than_the_bound():
    threads, barrier = Threads("pool-b", 3), threading.Semaphore(0)
    running, most, lock = 0, 0, threading.Lock()

    def body():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.acquire(timeout=10)
        with lock:
            running -= 1

    bodies = [asyncio.ensure_future(threads.run(body)) for _ in range(10)]
    await until(lambda: running == 3)
    assert 3 == len(_named("pool-b"))
    for _ in range(10):
        barrier.release()
    await asyncio.gather(*bodies)
    assert 3 == most
    threads.close()


async def test_an_error_goes_to_who_awaits():
    threads = Threads("pool-c", 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.hurry(lambda: next(iter([])))
    assert 1 == await threads.run(lambda: 1)
    threads.close()


async def test_a_body_sees_the_context_of_its_caller():
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    threads = Threads("pool-d", 1)
    assert "set" == await threads.run(variable.get)
    threads.close()


async def test_a_body_that_hangs_is_left_behind_and_its_thread_replaced(release):
    threads, started = Threads("pool-e", 1), threading.Event()

    def hang():
        started.set()
        release.wait(30)

    hanging = asyncio.ensure_future(threads.hurry(hang))
    await until(started.is_set)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert 1 == await threads.run(lambda: 1)
    threads.close()


async def test_a_body_that_has_no_thread_yet_is_withdrawn_and_costs_no_replacement(release):
    threads, ran = Threads("pool-k", 1, abandoned_max=1), []
    hanging = asyncio.ensure_future(threads.run(lambda: release.wait(30)))
    await asyncio.sleep(0.01)
    for _ in range(3):
        waiting = asyncio.ensure_future(threads.hurry(lambda: ran.append(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    release.set()
    await hanging
    assert 1 == await threads.hurry(lambda: 1)
    assert [] == ran
    assert 1 == len(_named("pool-k"))
    threads.close()


async def test_what_ends_together_wakes_the_loop_once(release, monkeypatch):
    threads, loop, wakes = Threads("pool-l", 4), asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe

    def counted(*args):
        wakes.append(args)
        return wake(*args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    bodies = [asyncio.ensure_future(threads.run(lambda n=n: n)) for n in range(100)]
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - so that the loop hears nothing meanwhile
    assert list(range(100)) == await asyncio.gather(*bodies)
    assert 1 == len(wakes)
    threads.close()


async def test_too_many_bodies_that_hang_are_refused_by_name(release):
    threads = Threads("pool-f", 1, abandoned_max=2)
    for _ in range(2):
        hanging = asyncio.ensure_future(threads.hurry(lambda: release.wait(30)))
        await asyncio.sleep(0.01)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    with pytest.raises(EventseamError, match="pool-f hang"):
        await threads.hurry(lambda: 1)
    assert len(_named("pool-f")) <= 3
    threads.close()


async def test_cancelling_run_waits_for_the_end_of_the_body_however_often(release):
    threads, started, ended = Threads("pool-g", 1), threading.Event(), threading.Event()

    def body():
        started.set()
        release.wait(30)
        ended.set()

    running = asyncio.ensure_future(threads.run(body))
    await until(started.is_set)
    for _ in range(5):
        running.cancel()
        await asyncio.sleep(0.002)
    assert not running.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
    threads.close()


async def test_cancelling_run_asks_the_body_to_end(release):
    threads, started = Threads("pool-h", 1), threading.Event()

    def body():
        started.set()
        release.wait(30)

    running = asyncio.ensure_future(threads.run(body, release.set))
    await until(started.is_set)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    threads.close()


async def test_closing_ends_idle_threads_and_may_be_repeated():
    threads = Threads("pool-i", 3)
    await asyncio.gather(*[threads.run(lambda: None) for _ in range(3)])
    threads.close()
    threads.close()
    await until(lambda: not _named("pool-i"))


def test_a_loop_that_is_closed_has_nobody_left_to_tell(release):
    threads, started = Threads("pool-j", 1), threading.Event()

    async def leave():
        def hang():
            started.set()
            release.wait(30)

        hanging = asyncio.ensure_future(threads.hurry(hang))
        await until(started.is_set)
        hanging.cancel()

    asyncio.run(leave())
    release.set()
    threads.close()
