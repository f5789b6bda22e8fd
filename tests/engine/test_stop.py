"""G5: stopping finishes what runs, starts nothing new and settles nothing unfinished."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

from eventseam import Ctx, SyncTx, Tx
from tests.support.file import heard, query, unfinished, unsettled
from tests.support.run import make_app, running, until
from tests.support.talk import HEARD, Said, Say, ears, hear


async def test_stopping_finishes_what_runs_and_starts_nothing_new(tmp_path):
    service, started, calls = ears(), asyncio.Event(), []

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        calls.append(message.n)
        started.set()
        await asyncio.sleep(0.05)
        hear(ctx, message)

    began = 0.0
    async with running(tmp_path / "db", service, workers=1, grace_seconds=30.0) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(200)])
        await started.wait()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert 0 < len(calls) < 100
    assert calls == heard(tmp_path / "db")
    assert [] == unsettled(tmp_path / "db")


async def test_what_was_not_finished_is_handled_after_the_next_start(tmp_path):
    calls = []
    for _ in range(2):
        service, started = ears(), asyncio.Event()

        @service.on(Said)
        async def on_said(message: Said, ctx: Ctx, started: asyncio.Event = started) -> None:
            calls.append(message.n)
            started.set()
            await asyncio.sleep(0.005)
            hear(ctx, message)

        async with running(tmp_path / "db", service, workers=2) as app:
            if not calls:
                await app.publish(service, *[Said(f"k{n % 7}", n) for n in range(50)])
                await started.wait()
            else:
                await app.wait_idle()
    assert list(range(50)) == sorted(heard(tmp_path / "db"))
    for key in range(7):
        assert list(range(key, 50, 7)) == heard(tmp_path / "db", who=f"k{key}")


async def test_a_handler_that_outlasts_the_grace_period_is_cancelled_and_settles_nothing(tmp_path):
    service, started, cancelled = ears(), asyncio.Event(), []

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        started.set()
        hear(ctx, message)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(message)
            raise

    async with running(tmp_path / "db", service, grace_seconds=0.1) as app:
        await app.publish(service, Said("ann"))
        await started.wait()
    assert 1 == len(cancelled)
    assert [] == heard(tmp_path / "db") == unsettled(tmp_path / "db")
    assert [] == query(tmp_path / "db", "SELECT * FROM processed_events")
    assert 1 == unfinished(tmp_path / "db")
    assert {(None,)} == set(query(tmp_path / "db", "SELECT owner FROM positions"))


async def test_a_handler_that_swallows_the_cancellation_neither_settles_nor_hangs_the_stop(tmp_path):
    service, started = ears(), asyncio.Event()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        hear(ctx, message)

    async with asyncio.timeout(20), running(tmp_path / "db", service, grace_seconds=0.1) as app:
        await app.publish(service, Said("ann"))
        await started.wait()
    assert [] == heard(tmp_path / "db")
    assert [] == query(tmp_path / "db", "SELECT * FROM processed_events")


async def test_a_thread_that_hangs_does_not_hang_the_stop(tmp_path):
    service, started, release = ears(), threading.Event(), threading.Event()

    @service.on(Said)
    def on_said(message: Said, ctx: Ctx) -> None:
        started.set()
        release.wait(60)
        hear(ctx, message)

    async with asyncio.timeout(20), running(tmp_path / "db", service, grace_seconds=0.1) as app:
        await app.publish(service, Said("ann"))
        await until(started.is_set)
    release.set()
    assert [] == heard(tmp_path / "db")


async def test_a_transaction_cut_by_the_stop_leaves_nothing(tmp_path):
    for colour in ("loop", "thread"):
        service, started, release = ears(), threading.Event(), threading.Event()
        if colour == "loop":

            @service.on_tx(Said)
            async def on_said(message: Said, tx: Tx, started: threading.Event = started) -> None:
                await tx.execute(HEARD, "hear", message.who, message.n)
                started.set()
                await asyncio.sleep(60)

        else:

            @service.on_tx(Said)
            def on_said(
                message: Said,
                tx: SyncTx,
                started: threading.Event = started,
                release: threading.Event = release,
            ) -> None:
                tx.execute(HEARD, "hear", message.who, message.n)
                started.set()
                release.wait(60)

        async with asyncio.timeout(20), running(tmp_path / colour, service, grace_seconds=0.1) as app:
            await app.publish(service, Said("ann"))
            await until(started.is_set)
        release.set()
        assert [] == heard(tmp_path / colour)
        assert [] == query(tmp_path / colour, "SELECT * FROM processed_events")


async def test_should_stop_tells_a_long_handler_that_the_engine_stops(tmp_path):
    service, started, told = ears(), threading.Event(), []

    @service.on(Said)
    def on_said(message: Said, ctx: Ctx) -> None:
        started.set()
        for _ in range(10_000):
            if ctx.should_stop():
                told.append(message)
                raise InterruptedError("to be continued")
            time.sleep(0.002)

    async with running(tmp_path / "db", service, grace_seconds=15.0) as app:
        await app.publish(service, Said("ann"))
        await until(started.is_set)
    assert 1 == len(told)


async def test_a_call_that_is_cut_by_the_stop_is_told_so(tmp_path):
    service, started = ears(), asyncio.Event()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> None:
        started.set()
        await asyncio.sleep(60)

    async with asyncio.timeout(20):
        async with running(tmp_path / "db", service, grace_seconds=0.1) as app:
            call = asyncio.ensure_future(app.call(say, Say("ann")))
            await started.wait()
        with contextlib.suppress(Exception):
            await call
    assert call.done()


async def test_an_app_can_run_again_after_it_ended(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    app = make_app(tmp_path / "db", service)
    for n in range(3):
        async with app.running():
            await app.publish(service, Said("ann", n))
            await app.wait_idle()
    assert [0, 1, 2] == heard(tmp_path / "db")


async def test_stopping_gives_up_ownership_so_that_the_next_owner_need_not_wait(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service, lease_seconds=3600.0) as app:
        await app.wait_idle()
        assert {(False,)} == set(query(tmp_path / "db", "SELECT owner IS NULL FROM positions"))
    assert {(True,)} == set(query(tmp_path / "db", "SELECT owner IS NULL FROM positions"))


async def test_no_task_and_no_idle_thread_is_left_behind(tmp_path):
    service = ears()

    @service.on(Said)
    def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}") for n in range(10)])
        await app.wait_idle()
    assert {asyncio.current_task()} == asyncio.all_tasks()
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("eventseam-ears")])
