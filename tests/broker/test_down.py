"""A broker that is down grows the journal and nothing else, also for who starts meanwhile; and read your writes."""

from __future__ import annotations

import asyncio

import pytest

from eventseam import Service
from eventseam.errors import StorageUnavailable
from eventseam.testing.kafka import kafka
from tests.support import file
from tests.support.run import make_app
from tests.support.talk import Said, ears, on_loop

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.timeout(180)]


def listener(place, url):
    service = ears()
    on_loop(service, lambda message: None)
    return service, make_app(place, service, transport=url)


async def test_who_starts_while_the_broker_is_down_publishes_and_is_heard_when_it_is_back(postgres_url):
    with kafka() as server:
        service, app = listener(postgres_url, server.url)
        async with app.running():
            await app.publish(service, Said("a", 0))
            await app.wait_idle(60)
        await asyncio.to_thread(server.stop)
        service, app = listener(postgres_url, server.url)
        async with app.running():
            await app.publish(service, *(Said("a", n) for n in range(1, 20)))
            await asyncio.to_thread(server.start)
            await app.wait_idle(90)
    assert list(range(20)) == file.heard(postgres_url)


async def test_who_has_never_been_there_needs_the_broker_to_start(postgres_url):
    _, app = listener(postgres_url, "kafka://127.0.0.1:9")
    with pytest.raises(StorageUnavailable, match="EVENTSEAM_TRANSPORT"):
        async with app.running():
            pass


async def test_what_a_service_behind_a_broker_wrote_can_be_read_when_wait_for_returns(postgres_url, kafka_url):
    service, app = listener(postgres_url, kafka_url)
    async with app.running():
        for n in range(10):
            await app.wait_for(service, *await app.publish(service, Said("a", n), Said("b", n)), timeout_seconds=30)
            assert [n] == file.heard(postgres_url, who="a")[-1:]


async def test_a_service_that_does_not_listen_is_done_as_well(postgres_url, kafka_url):
    service, _ = listener(postgres_url, kafka_url)
    deaf = Service("deaf")
    async with make_app(postgres_url, service, deaf, transport=kafka_url).running() as app:
        await app.wait_for(deaf, *await app.publish(service, Said("a", 1)), timeout_seconds=30)
