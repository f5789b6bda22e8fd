"""The wall clock may jump by hours: leases, retries and order stay right."""

from __future__ import annotations

import pytest

from eventseam import Ctx, NotYet, Retry
from eventseam.ports.probe import OwnershipChanged
from tests.support.file import give_slots_to, heard, query, unsettled
from tests.support.run import MovedClock, make_app, running, seen, until
from tests.support.talk import ALWAYS_ON, PATIENT, Said, ears, hear

HOUR = 3_600.0


async def test_retries_go_on_through_jumps_in_both_directions(tmp_path):
    service, clock, calls = ears(), MovedClock(), 0

    @service.on(Said, retry=PATIENT, circuit=ALWAYS_ON)
    async def on_said(message: Said, ctx: Ctx) -> None:
        nonlocal calls
        calls += 1
        if calls < 12:
            clock.jump((HOUR, -HOUR, -HOUR, HOUR)[calls % 4])
            raise ConnectionError("down")
        hear(ctx, message)

    async with running(tmp_path / "db", service, clock=clock) as app:
        await app.publish(service, Said("ann", 1), Said("ann", 2))
        await app.wait_idle(10)
    assert [1, 2] == heard(tmp_path / "db")


async def test_a_retry_that_was_planned_before_the_clock_went_back_is_not_late_by_an_hour(tmp_path):
    service, clock, broken = ears(), MovedClock(), True

    @service.on(Said, retry=Retry(first_seconds=1, max_seconds=1, jitter=0))
    async def on_said(message: Said, ctx: Ctx) -> None:
        if broken:
            raise ConnectionError("down")
        hear(ctx, message)

    async with running(tmp_path / "db", service, clock=clock) as app:
        await app.publish(service, Said("ann", 1))
        await until(lambda: unsettled(tmp_path / "db"))
        clock.jump(-HOUR)
        broken = False
        await app.wait_idle(10)
    assert [1] == heard(tmp_path / "db")


async def test_not_yet_waits_on_when_the_clock_goes_back(tmp_path):
    service, clock, calls = ears(), MovedClock(), 0

    @service.on(Said, retry=PATIENT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            clock.jump(-HOUR)
        if calls < 5:
            raise NotYet("later", within_seconds=30)
        hear(ctx, message)

    async with running(tmp_path / "db", service, clock=clock) as app:
        await app.publish(service, Said("ann", 1))
        await app.wait_idle(10)
    assert [1] == heard(tmp_path / "db")


async def test_an_owner_keeps_its_place_when_its_clock_jumps(tmp_path):
    service, clock = ears(), MovedClock()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service, clock=clock, lease_seconds=0.3) as app:
        for n, jump in enumerate((HOUR, -2 * HOUR, HOUR, 24 * HOUR, -25 * HOUR)):
            clock.jump(jump)
            await app.publish(service, Said("ann", n))
            await app.wait_idle()
            before = query(tmp_path / "db", "SELECT lease_until FROM positions")
            await until(lambda before=before: query(tmp_path / "db", "SELECT lease_until FROM positions") != before)
        assert ["owned"] == [each.state for each in seen(app).of(OwnershipChanged)]
    assert [0, 1, 2, 3, 4] == heard(tmp_path / "db")


@pytest.mark.parametrize("tmp_path", ["sqlite"], indirect=True)
async def test_a_lease_written_by_a_clock_that_was_ahead_holds_nobody_up(tmp_path):
    """On PostgreSQL leases go by the server's clock alone."""
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    app = make_app(tmp_path / "db", service)
    async with app.running():
        await app.wait_idle()
    give_slots_to(tmp_path / "db", "elsewhere:1:x", HOUR)
    async with app.running():
        await app.publish(service, Said("ann", 1))
        await app.wait_idle(10)
    assert [1] == heard(tmp_path / "db")


async def test_messages_of_a_key_keep_their_order_though_their_times_do_not(tmp_path):
    service, clock = ears(), MovedClock()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service, clock=clock) as app:
        for n in range(6):
            clock.jump(HOUR if n % 2 else -2 * HOUR)
            await app.publish(service, Said("ann", n))
        await app.wait_idle()
    assert [0, 1, 2, 3, 4, 5] == heard(tmp_path / "db")
