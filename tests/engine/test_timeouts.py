"""A handler that hangs is timed out by its own limit, is seen, and delays only its own lane."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest

from eventseam import Ctx, HandlerTimeout, SyncTx, Tx
from eventseam.ports.probe import HandlerFailed
from tests.support.file import heard, query, unsettled
from tests.support.run import running, seen, until
from tests.support.talk import ALWAYS_ON, HEARD, QUICK, Said, Say, ears, hear

LIMIT = 0.3
FOREVER = 60.0


def _timeouts(app):
    return [each.key for each in seen(app).of(HandlerFailed) if each.error.startswith("HandlerTimeout: on_said ran")]


async def _others_are_heard(path, service):
    """Publish one message that hangs among others; the others are applied and the one is dead."""
    async with running(path, service) as app:
        await app.publish(service, Said("hang", 99), *[Said(f"k{n}", n) for n in range(10)], Said("hang", 100))
        await until(lambda: len(heard(path)) == 10)
        await until(lambda: ("on_said", "hang", "dead", 3) in unsettled(path))
        assert ["hang"] * 3 == _timeouts(app)
    assert list(range(10)) == sorted(heard(path))
    assert ("on_said", "hang", "waiting", 0) in unsettled(path)


async def test_an_async_handler_that_hangs_is_timed_out_and_delays_only_its_lane(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "hang":
            await asyncio.sleep(FOREVER)
        hear(ctx, message)

    await _others_are_heard(tmp_path / "db", service)


async def test_a_def_handler_that_hangs_is_timed_out_and_delays_only_its_lane(tmp_path):
    service, release = ears(threads_max=2), threading.Event()

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "hang":
            release.wait(FOREVER)
        hear(ctx, message)

    await _others_are_heard(tmp_path / "db", service)
    release.set()


async def test_an_async_tx_handler_that_hangs_is_timed_out_and_leaves_nothing_locked(tmp_path):
    service = ears()

    @service.on_tx(Said, retry=QUICK, timeout_seconds=LIMIT)
    async def on_said(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "hear", message.who, message.n)
        if message.who == "hang":
            await asyncio.sleep(FOREVER)

    await _others_are_heard(tmp_path / "db", service)


async def test_a_tx_handler_in_a_thread_that_hangs_is_timed_out_and_leaves_nothing_locked(tmp_path):
    service, release = ears(), threading.Event()

    @service.on_tx(Said, retry=QUICK, timeout_seconds=LIMIT)
    def on_said(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "hear", message.who, message.n)
        if message.who == "hang":
            release.wait(FOREVER)
            tx.execute(HEARD, "late", message.who, message.n)

    await _others_are_heard(tmp_path / "db", service)
    release.set()
    assert [] == heard(tmp_path / "db", "late")


ENDLESS = "WITH RECURSIVE endless(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM endless) SELECT count(*) FROM endless"


async def test_an_endless_statement_in_an_async_transaction_is_interrupted(tmp_path):
    service = ears()

    @service.on_tx(Said, retry=QUICK, timeout_seconds=LIMIT)
    async def on_said(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "hear", message.who, message.n)
        if message.who == "hang":
            await tx.fetch_one(ENDLESS)

    await _others_are_heard(tmp_path / "db", service)


async def test_the_time_of_a_handler_that_waits_for_a_thread_runs_from_when_it_has_one(tmp_path):
    service = ears(threads_max=1)

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    def on_said(message: Said, ctx: Ctx) -> None:
        time.sleep(LIMIT / 5)
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(10)])
        await until(lambda: len(heard(tmp_path / "db")) == 10)
        assert [] == seen(app).of(HandlerFailed)


async def test_an_endless_statement_in_a_thread_is_interrupted(tmp_path):
    service = ears()

    @service.on_tx(Said, retry=QUICK, timeout_seconds=LIMIT)
    def on_said(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "hear", message.who, message.n)
        if message.who == "hang":
            tx.fetch_one(ENDLESS)

    await _others_are_heard(tmp_path / "db", service)


async def test_a_handler_that_swallows_its_cancellation_is_timed_out_all_the_same(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "hang":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FOREVER)
        hear(ctx, message)

    await _others_are_heard(tmp_path / "db", service)


async def test_a_handler_that_turns_its_cancellation_into_an_error_is_timed_out_all_the_same(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "hang":
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                raise ConnectionError("gone") from None
        hear(ctx, message)

    await _others_are_heard(tmp_path / "db", service)


async def test_a_handler_that_swallows_one_cancellation_and_hangs_again_is_cancelled_again(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "hang":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FOREVER)
            await asyncio.sleep(FOREVER)
        hear(ctx, message)

    await _others_are_heard(tmp_path / "db", service)


async def test_workers_are_whole_after_many_time_outs(tmp_path):
    service, rude = ears(), True

    @service.on(Said, retry=QUICK, timeout_seconds=0.05, circuit=ALWAYS_ON)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if rude and message.n % 2:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FOREVER)
        if rude:
            await asyncio.sleep(FOREVER)
        raise asyncio.CancelledError if message.n < 10 else ValueError

    async with running(tmp_path / "db", service, workers=2) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(4)])
        await until(lambda: [state for _, _, state, _ in unsettled(tmp_path / "db")].count("dead") == 4)
        rude = False
        await app.publish(service, *[Said(f"q{n}", n) for n in range(20)])
        await app.wait_idle()
    assert 24 == [state for _, _, state, _ in unsettled(tmp_path / "db")].count("dead")


async def test_a_batch_that_hangs_is_timed_out_and_the_guilty_message_found(tmp_path):
    service = ears()

    @service.on_batch(Said, retry=QUICK, timeout_seconds=LIMIT)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        for message in messages:
            if message.who == "hang":
                await asyncio.sleep(FOREVER)
            hear(ctx, message)

    await _others_are_heard(tmp_path / "db", service)


async def test_a_call_of_a_handler_that_hangs_raises_its_time_out(tmp_path):
    service = ears()

    @service.handle(Say, timeout_seconds=LIMIT)
    async def say(command: Say, ctx: Ctx) -> None:
        await asyncio.sleep(FOREVER)

    async with running(tmp_path / "db", service) as app:
        began = time.monotonic()
        with pytest.raises(HandlerTimeout, match=r"timeout_seconds=0\.3"):
            await app.call(say, Say("ann"))
        assert time.monotonic() - began < 5


async def test_should_stop_tells_a_thread_that_its_time_is_over(tmp_path):
    service, told = ears(), threading.Event()

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    def on_said(message: Said, ctx: Ctx) -> None:
        until_then = time.monotonic() + FOREVER
        while not ctx.should_stop() and time.monotonic() < until_then:
            time.sleep(0.005)
        told.set()

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await until(told.is_set)


async def test_what_a_timed_out_handler_records_later_is_dropped(tmp_path):
    service, release = ears(), threading.Event()

    @service.on(Said, retry=QUICK, timeout_seconds=LIMIT)
    def on_said(message: Said, ctx: Ctx) -> None:
        if ctx.attempt == 1:
            release.wait(FOREVER)
        hear(ctx, message, f"attempt {ctx.attempt}")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
        release.set()
        await app.wait_idle()
    assert [("attempt 2",)] == query(tmp_path / "db", "SELECT handler FROM heard")
