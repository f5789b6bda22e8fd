"""A process whose services only publish to a broker: it runs the relay and nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from msgspec import Struct

from eventseam import App, Channel, Ctx, Seams, Service, Settings
from eventseam.transports.kafka import connect
from tests.support.run import until
from tests.support.talk import Said, ears

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.timeout(120)]

gossip = Channel("gossip", key="who", internal=True)


@gossip.event("gossip.heard")
class Heard(Struct, frozen=True):
    who: str


def settings_for(tmp_path, url):
    return Settings(database=f"sqlite:///{tmp_path / 'web.db'}", transport=url)


async def test_a_process_that_only_publishes_relays_and_stops_in_good_order(tmp_path, kafka_url):
    web, listener = Service("web"), ears()

    @listener.on(Said)
    async def on_said(_: Said) -> None:
        raise AssertionError("it runs elsewhere")

    app = App(web, listener, settings=settings_for(tmp_path, kafka_url))
    async with app.running(only=["web"]):
        await app.publish(web, Said("ann"))
        await until(lambda: _length(kafka_url) == 1)


async def test_what_nobody_in_the_app_listens_to_is_published_all_the_same(tmp_path, kafka_url):
    web = Service("web")
    app = App(web, settings=settings_for(tmp_path, kafka_url))
    async with app.running():
        await app.publish(web, Said("ann"), Said("bob"))
        await until(lambda: _length(kafka_url) == 2)


async def test_domain_events_stay_also_where_the_relay_is_another_apps(tmp_path, kafka_url):
    inner, web = Service("inner"), Service("web")

    @inner.on(Heard)
    async def on_heard(event: Heard, ctx: Ctx) -> None:
        ctx.publish(Said(event.who))

    async with App(inner, settings=settings_for(tmp_path, kafka_url)).running() as app:
        await app.publish(inner, Heard("ann"))
        await app.wait_idle()
    async with App(web, settings=settings_for(tmp_path, kafka_url)).running() as app:
        async with app._started().store.transaction() as sql:
            await sql.rows(
                "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ($1, $2, $3, $4)",
                *("gossip", "bob", "gossip.heard", '{"who": "bob"}'),
            )
        await app.publish(web, Said("end"))
        await until(lambda: _length(kafka_url) == 2)
    broker = connect(kafka_url, Seams().clock)
    await broker.open()
    assert {} == await broker.layouts(["gossip"])
    await broker.close()


def _length(url):
    """How many messages the topic of `talk` holds, as soon as it is there."""
    servers, _, prefix = url.removeprefix("kafka://").partition("?prefix=")
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "plain"})
    places = [TopicPartition(f"{prefix}talk", number) for number in range(6)]
    ends = []
    with suppress(KafkaException):  # it has no leader yet
        ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
    consumer.close()
    return sum(ends)
