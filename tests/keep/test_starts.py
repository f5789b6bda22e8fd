"""Where a service begins that is new to a journal: at the beginning, now, or at a time; decided once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from eventseam import App, Service, Settings, WiringError
from tests.support import file
from tests.support.run import MovedClock, make_app, running
from tests.support.talk import Said, ears, on_loop


def listener(name, **options):
    """A service that notes under its own name what it hears."""
    service = ears(name, **options)

    @service.on(Said, name=name)
    async def on_said(message, ctx):
        ctx.write("INSERT INTO heard (handler, who, n) VALUES ($1, $2, $3)", name, message.who, message.n)

    return service


async def say(place, *numbers, clock=None, beside=()):
    """Publish from a service that is there from the beginning, with others beside it."""
    first = ears("first")
    on_loop(first, lambda message: None)
    app = make_app(place, first, *beside, clock=clock)
    async with app.running():
        await app.publish(first, *[Said("a", n) for n in numbers])
        await app.wait_idle()


async def test_a_new_service_reads_from_the_beginning(place):
    await say(place, 1, 2)
    await say(place, 3, beside=[listener("late")])
    assert [1, 2, 3] == file.heard(place, "late")


async def test_a_service_that_starts_now_reads_what_comes_after_its_first_start(place):
    await say(place, 1, 2)
    await say(place, 3, beside=[listener("late", starts="now")])
    await say(place, 4)
    await say(place, 5, beside=[listener("late", starts="now")])
    assert [3, 4, 5] == file.heard(place, "late")


async def test_a_service_may_start_at_a_time(place):
    clock = MovedClock()
    await say(place, 1, 2, clock=clock)
    clock.jump(3_600)
    await say(place, 3, 4, clock=clock)
    since = datetime.now(UTC) + timedelta(minutes=30)
    await say(place, 5, beside=[listener("late", starts=since)], clock=clock)
    assert [3, 4, 5] == file.heard(place, "late")


async def test_a_time_after_everything_is_now(place):
    await say(place, 1)
    await say(place, 2, beside=[listener("late", starts=datetime.now(UTC))])
    assert [2] == file.heard(place, "late")


async def test_a_time_that_has_not_come_is_refused(place):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(WiringError, match=r"Service\('late'\): starts=.* has not come yet. .*Start it then"):
        await say(place, 1, beside=[listener("late", starts=tomorrow)])


async def test_a_service_that_has_positions_keeps_them(place):
    late = listener("late")
    async with running(place, late):
        pass
    await say(place, 1)
    await say(place, 2, beside=[listener("late", starts="now")])
    assert [1, 2] == file.heard(place, "late")


@pytest.mark.parametrize("starts", ["end", None, datetime(2026, 1, 31)])  # noqa: DTZ001 - what is refused
def test_anything_else_is_refused_with_what_may_be_written(starts):
    with pytest.raises(WiringError, match='must be "beginning", "now" or a datetime with a zone'):
        Service("late", starts=starts)


async def test_a_service_starts_now_on_a_bus_as_well(tmp_path, postgres_url):
    def app_of(name, *services):
        settings = Settings(database=f"sqlite:///{tmp_path / name}", transport=postgres_url, durability="normal")
        return App(*services, settings=settings)

    first, late = ears("first"), listener("late", starts="now")
    on_loop(first, lambda message: None)
    async with app_of("first", first).running() as app:
        await app.wait_for(first, *await app.publish(first, Said("a", 1)), timeout_seconds=10)
        async with app_of("late", late).running() as other:
            ids = await app.publish(first, Said("a", 2))
            await other.wait_for(late, *ids, timeout_seconds=10)
    assert [2] == file.heard(tmp_path / "late", "late")
