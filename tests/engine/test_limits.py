"""G6: limits slow or refuse publishers, and what waits has a bound that is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from eventseam import Channel, Ctx, Limit, Overloaded
from eventseam.delivery.unsettled import Filter
from eventseam.ports.probe import IntakeChanged
from tests.support.file import heard, query, redrive_now, unsettled
from tests.support.run import running, seen, until
from tests.support.talk import ALWAYS_ON, HEARD, QUICK, Said, ears, hear


def _limited(limit):
    channel = Channel("limited", key="who", limit=limit)

    @channel.event("limited.sent")
    @dataclass(frozen=True)
    class Sent:
        who: str
        n: int = 0

    return Sent


async def test_a_publisher_is_refused_when_the_channel_stays_full(tmp_path):
    sent = _limited(Limit(pending_max=5, wait_seconds=0.2))
    service, go = ears(), asyncio.Event()

    @service.on(sent)
    async def on_sent(message: sent, ctx: Ctx) -> None:
        await go.wait()
        ctx.write(HEARD, "hear", message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[sent("ann", n) for n in range(5)])
        await asyncio.sleep(0.06)  # counts are taken every 50 ms
        with pytest.raises(Overloaded, match="'limited' is at its limit"):
            await app.publish(service, *[sent("ann", n) for n in range(5, 10)])
        published = query(tmp_path / "db", "SELECT count(*) FROM event_outbox")[0][0]
        assert 5 == published
        go.set()
        await app.wait_idle()
        await until(lambda: heard(tmp_path / "db") == list(range(published)))
        await app.publish(service, sent("ann", 99))


async def test_a_publisher_that_waits_goes_on_when_there_is_room(tmp_path):
    sent = _limited(Limit(pending_max=5, wait_seconds=20))
    service, go = ears(), asyncio.Event()

    @service.on(sent)
    async def on_sent(message: sent, ctx: Ctx) -> None:
        await go.wait()
        ctx.write(HEARD, "hear", message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[sent("ann", n) for n in range(10)])
        await asyncio.sleep(0.06)  # counts are taken every 50 ms
        waiting = asyncio.ensure_future(app.publish(service, sent("ann", 10)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        go.set()
        await waiting
        await app.wait_idle()
    assert list(range(11)) == heard(tmp_path / "db")


async def test_a_handler_that_publishes_too_fast_is_slowed_and_loses_nothing(tmp_path):
    sent = _limited(Limit(pending_max=10, wait_seconds=20))
    service, go = ears(), asyncio.Event()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        await asyncio.sleep(0.06)  # counts are taken every 50 ms
        ctx.publish(sent(message.who, message.n))

    @service.on(sent)
    async def on_sent(message: sent, ctx: Ctx) -> None:
        await go.wait()
        ctx.write(HEARD, "hear", message.who, message.n)

    async with running(tmp_path / "db", service, workers=4) as app:
        await app.publish(service, *[Said(f"k{n % 3}", n) for n in range(60)])
        await asyncio.sleep(1)
        sent_while_full = "SELECT count(*) FROM event_outbox WHERE event_type = 'limited.sent'"
        assert query(tmp_path / "db", sent_while_full)[0][0] < 30
        go.set()
        await app.wait_idle()
    for key in range(3):
        assert list(range(key, 60, 3)) == heard(tmp_path / "db", who=f"k{key}")


async def test_per_second_spreads_what_is_published(tmp_path):
    sent = _limited(Limit(per_second=50, wait_seconds=5))
    service = ears()

    @service.on(sent)
    async def on_sent(message: sent, ctx: Ctx) -> None:
        ctx.write(HEARD, "hear", message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        began = time.monotonic()
        for n in range(75):
            await app.publish(service, sent("ann", n))
        assert time.monotonic() - began > 0.4
        await app.wait_idle()
    assert list(range(75)) == heard(tmp_path / "db")


async def test_per_second_refuses_what_it_cannot_spread(tmp_path):
    sent = _limited(Limit(per_second=1, wait_seconds=0.1))
    service = ears()

    @service.on(sent)
    async def on_sent(message: sent, ctx: Ctx) -> None: ...

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, sent("ann"))
        with pytest.raises(Overloaded):
            await app.publish(service, sent("ann"))
    assert [(1,)] == query(tmp_path / "db", "SELECT count(*) FROM event_outbox")


async def test_intake_pauses_when_too_many_lanes_are_parked_and_says_so(tmp_path):
    broken, calls = True, 0
    service = ears()

    @service.on(Said, retry=QUICK, circuit=ALWAYS_ON)
    async def on_said(message: Said, ctx: Ctx) -> None:
        nonlocal calls
        calls += 1
        if broken:
            raise ValueError("a bug")
        hear(ctx, message)

    async with running(tmp_path / "db", service, parked_lanes_max=3, in_flight_max=2) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(30)])
        await until(lambda: seen(app).of(IntakeChanged))
        await until(lambda: {state for _, _, state, _ in unsettled(tmp_path / "db")} == {"dead"})
        assert [IntakeChanged("ears", paused=True, bound="parked_lanes_max")] == seen(app).of(IntakeChanged)
        assert 3 <= len(unsettled(tmp_path / "db")) < 10
        broken = False
        redrive_now(tmp_path / "db", Filter(), time.time())
        await app.wait_idle()
        assert not seen(app).of(IntakeChanged)[-1].paused
    assert list(range(30)) == sorted(heard(tmp_path / "db"))


async def test_no_more_than_the_bound_is_in_flight(tmp_path):
    service, go, calls = ears(), asyncio.Event(), 0

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        nonlocal calls
        calls += 1
        await go.wait()
        hear(ctx, message)

    async with running(tmp_path / "db", service, in_flight_max=7, workers=100) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(50)])
        await until(lambda: calls == 7)
        await asyncio.sleep(0.05)
        assert 7 == calls
        go.set()
        await app.wait_idle()
    assert list(range(50)) == sorted(heard(tmp_path / "db"))
