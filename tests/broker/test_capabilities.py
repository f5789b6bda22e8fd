"""What a transport cannot do is refused at start with the fix, or said; what it can is described."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
from msgspec import Struct

from eventseam import App, Channel, Seams, Service, Settings, WiringError
from eventseam.app.broker import BrokerBus
from eventseam.app.capabilities import OURS
from eventseam.app.stores import open_store
from eventseam.ports.transport import Feature
from eventseam.transports.memory import PROFILES, MemoryServer, connect
from tests.support.talk import Said

loose = Channel("loose", key="who", unordered=True)


@loose.event("loose.said")
class Loose(Struct, frozen=True):
    who: str


def app_of(event, tmp_path, **options):
    service = Service("ears", **options)

    @service.on(event)
    async def hear(said) -> None: ...

    return App(service, settings=Settings(database=f"sqlite:///{tmp_path}/db"))


async def start(app, profile):
    """What happens at the start of an app whose broker is of a profile."""
    own, bus = open_store(app.settings, app.seams), BrokerBus(connect(MemoryServer(profile, Seams())))
    try:
        await own.migrate()
        await bus.open(own, app, app.services)
    finally:
        await bus.close()
        await own.close()


ORDERED = [name for name, profile in PROFILES.items() if Feature.ORDER in profile.capabilities.features]


@pytest.mark.parametrize("profile", PROFILES)
async def test_an_ordered_channel_needs_a_transport_that_keeps_order(tmp_path, profile):
    if profile in ORDERED:
        await start(app_of(Said, tmp_path), profile)
        return
    with pytest.raises(WiringError, match=r"ears handles messages of talk, .* Channel\('talk', ..., unordered=True\)"):
        await start(app_of(Said, tmp_path), profile)


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_channel_that_can_do_without_order_goes_by_any_transport(tmp_path, profile):
    await start(app_of(Loose, tmp_path), profile)


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_start_at_a_time_needs_a_transport_that_knows_times(tmp_path, profile):
    app = app_of(Loose, tmp_path, starts=datetime(2026, 1, 1, tzinfo=UTC))
    if Feature.TIMES in PROFILES[profile].capabilities.features:
        await start(app, profile)
        return
    with pytest.raises(WiringError, match=r"Service\('ears', starts=<a time>\): .* Write starts=\"now\""):
        await start(app, profile)


async def test_that_a_new_reader_gets_nothing_from_before_is_said_once(tmp_path, caplog):
    app = app_of(Loose, tmp_path)
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "eventseam"):
            await start(app, "rabbit-quorum")
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("ears is new to this transport, which gives a new reader nothing from before")
    assert "eventseam republish" in said


@pytest.mark.parametrize("starts, profile", [("now", "rabbit-quorum"), ("beginning", "kafka")])
async def test_nothing_is_said_where_nothing_is_missing(tmp_path, caplog, starts, profile):
    with caplog.at_level(logging.WARNING, "eventseam"):
        await start(app_of(Loose, tmp_path, starts=starts), profile)
    assert not caplog.records


@pytest.mark.parametrize(
    "database, transport, name",
    [
        ("sqlite:///db", "journal:", "journal on SQLite"),
        ("postgresql://host/db", "journal:", "journal on PostgreSQL"),
        ("sqlite:///db", "postgresql://host/bus", "PostgreSQL as the bus"),
        ("sqlite:///db", "kafka+tls://me:SeCrEt@host", "kafka"),
    ],
)
def test_an_app_describes_what_its_transport_can_do(database, transport, name):
    found = App(Service("ears"), settings=Settings(database=database, transport=transport)).describe()
    assert name == found["transport"]["name"]
    assert "order" in found["transport"]["features"]
    assert "SeCrEt" not in str(found)


@pytest.mark.parametrize("name", OURS)
def test_our_own_ways_keep_order_and_outlive_a_crash(name):
    assert {Feature.ORDER, Feature.SURVIVES, Feature.LATE} <= OURS[name].features
