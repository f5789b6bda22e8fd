"""A bus from which messages come back is refused at start, before anything goes round."""

from __future__ import annotations

import asyncio

import pytest

from eventseam import App, Seams, Service, Settings, WiringError
from tests.bus.test_bus import app_on
from tests.support.postgres import query


@pytest.fixture
def databases(postgres_server):
    """Three databases."""
    names = [f"ring_{Seams().ids.new().replace('-', '')}_{n}" for n in range(3)]
    yield [postgres_server.database(name) for name in names]
    for name in names:
        postgres_server.drop(name)


async def start(database, bus, only):
    async with app_on(database, bus).running(only=[only]) as app:
        await app.wait_idle()


async def test_a_bus_that_is_the_services_own_database_is_refused_by_whatever_address(databases):
    own = databases[0]
    with pytest.raises(WiringError, match=r"EVENTSEAM_TRANSPORT names the service's own database.*Leave"):
        await start(own, own, "mouth")
    with pytest.raises(WiringError, match="EVENTSEAM_TRANSPORT names the service's own database"):
        await start(own, own.replace("127.0.0.1", "localhost") + "?application_name=other", "mouth")
    assert [] == query(own, "SELECT * FROM positions")


async def test_two_schemas_of_one_database_are_two_journals(databases):
    for name in ("own", "meeting"):
        query(databases[0], f"CREATE SCHEMA {name}")
    own, bus = (f"{databases[0]}?options=-csearch_path%3D{name}" for name in ("own", "meeting"))
    await start(own, bus, "mouth")
    assert [("mouth@bus",), ("relay@bus",)] == query(own, "SELECT DISTINCT reader FROM positions ORDER BY 1")


async def test_a_database_that_is_relayed_to_a_bus_is_no_bus(databases):
    a, b, c = databases
    await start(a, b, "mouth")
    with pytest.raises(WiringError, match=r"relayed to a bus itself.*forget-reader relay@bus"):
        await start(b, a, "ears")
    with pytest.raises(WiringError, match="relayed to a bus itself"):
        await start(c, a, "ears")
    await start(a, b, "mouth")


async def test_a_database_that_is_a_bus_is_not_relayed_to_another_one(databases):
    a, b, c = databases
    await start(a, b, "mouth")
    with pytest.raises(WiringError, match=r"a bus itself \(read by mouth\)"):
        await start(b, c, "ears")
    await start(a, b, "mouth")


async def test_services_without_handlers_start_on_a_bus(databases):
    settings = Settings(database=databases[0], transport=databases[1])
    async with App(Service("silent"), settings=settings).running() as app:
        await app.wait_idle()


async def test_two_that_begin_a_ring_at_the_same_time_do_not_both_run(databases):
    a, b, _ = databases
    ends = await asyncio.gather(start(a, b, "mouth"), start(b, a, "ears"), return_exceptions=True)
    assert any(isinstance(end, WiringError) for end in ends), ends
