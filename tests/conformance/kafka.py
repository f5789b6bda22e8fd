"""The stage of real Kafka: one broker for all scenarios, and one of its own for each that kills it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from confluent_kafka import OFFSET_END, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from eventseam import Seams
from eventseam.clock import SystemClock
from eventseam.testing.conformance import Fault
from eventseam.testing.kafka import StartedKafka, kafka
from eventseam.transports.kafka import KafkaBroker, KafkaSink, connect

LANDS = 17


class KafkaStage:
    """A broker at a URL with a prefix of its own."""

    slots = 4

    def __init__(self, url: str, server: StartedKafka | None = None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._prefix = parse_qs(parts.query)["prefix"][0]
        self._config = {"bootstrap.servers": parts.netloc}
        self._server = server
        self._is_losing = False
        self.faults = frozenset(Fault) - {Fault.CUT} - (set() if server else {Fault.RESTART})

    async def connect(self) -> KafkaBroker:
        broker = connect(self._url, SystemClock())
        make = broker.sink
        broker.sink = lambda: self._losing(make())
        await broker.open()
        return broker

    def _losing(self, sink: KafkaSink) -> KafkaSink:
        """Its answer can be lost: a part of its batch lands, and then it gives up."""
        send = sink._send

        def send_or_lose(rows) -> None:
            if not self._is_losing:
                send(rows)
                return
            self._is_losing = False
            send(rows[:LANDS])
            sink._give_up([])

        sink._send = send_or_lose
        return sink

    async def inject(self, channel, key, headers, body) -> None:
        def inject() -> None:
            producer = Producer(self._config)
            producer.produce(self._prefix + channel, body, key, headers=list(headers))
            assert producer.flush(20) == 0

        await asyncio.to_thread(inject)

    async def trim(self, channel) -> None:
        def trim() -> None:
            topic = self._prefix + channel
            parts = [TopicPartition(topic, slot, OFFSET_END) for slot in range(self.slots)]
            admin = AdminClient(self._config)  # to be kept: its answers come as long as it lives
            for future in admin.delete_records(parts).values():
                future.result(20)

        await asyncio.to_thread(trim)

    async def recreate(self, channel) -> None:
        admin, topic = AdminClient(self._config), self._prefix + channel
        await asyncio.to_thread(admin.delete_topics([topic])[topic].result, 20)
        async with asyncio.timeout(20):
            while True:  # a topic that is being deleted is there for a while
                try:
                    made = admin.create_topics([NewTopic(topic, self.slots)])[topic]
                    await asyncio.to_thread(made.result, 20)
                except KafkaException:
                    await asyncio.sleep(0.05)
                else:
                    return

    async def restart(self) -> None:
        await asyncio.to_thread(self._server.restart)

    async def lose_answer(self) -> None:
        self._is_losing = True


@asynccontextmanager
async def kafka_stage(url: str):
    yield KafkaStage(url)


@asynccontextmanager
async def own_kafka_stage():
    """A broker that may be killed."""
    with kafka() as server:
        yield KafkaStage(server.url_of(f"test-{Seams().ids.new()}-"), server)
