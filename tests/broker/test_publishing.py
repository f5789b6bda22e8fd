"""A process whose services only publish to a broker: it runs the relay and nothing else."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from eventseam import App, Service, Settings
from tests.support.run import until
from tests.support.talk import Said, ears


async def test_a_process_that_only_publishes_relays_and_stops_in_good_order(tmp_path, kafka_url):
    web, listener = Service("web"), ears()

    @listener.on(Said)
    async def on_said(_: Said) -> None:
        raise AssertionError("it runs elsewhere")

    app = App(web, listener, settings=Settings(database=f"sqlite:///{tmp_path / 'web.db'}", transport=kafka_url))
    async with app.running(only=["web"]):
        await app.publish(web, Said("ann"))
        await until(lambda: _length(kafka_url) == 1)


def _length(url):
    """How many messages the topic of `talk` holds."""
    servers, _, prefix = url.removeprefix("kafka://").partition("?prefix=")
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "plain"})
    places = [TopicPartition(f"{prefix}talk", number) for number in range(6)]
    ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
    consumer.close()
    return sum(ends)
