"""One Kafka broker for a run: topics that are filled once and read in every round, and new ones to publish to."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from confluent_kafka import Consumer, TopicPartition
from msgspec.structs import replace

from bench.contracts import Line, OrderPlaced, placed
from eventseam import Seams
from eventseam.clock import traceparent
from eventseam.contracts.envelope import Envelope
from eventseam.ports.transport import Received
from eventseam.testing.kafka import kafka
from eventseam.transports.kafka import connect

if TYPE_CHECKING:
    from collections.abc import Generator

    from eventseam.testing.kafka import StartedKafka

CHANNEL = "order"
PARTITIONS = 8
_BATCH = 1_000
_ANSWER_SECONDS = 10.0
_THIRD = Line("sku-00099", 1, Decimal("0.00"))


class Topics:
    """Topics of one server, told apart by a prefix. They stay until the server goes."""

    def __init__(self, server: StartedKafka) -> None:
        """Make nothing yet."""
        self.server = server
        self._filled: set[str] = set()
        self._made = 0

    @property
    def hosts(self) -> str:
        """Where clients by hand connect to."""
        return self.server.url.removeprefix("kafka://")

    def version(self) -> str:
        """As 4.4.0."""
        jar = next(self.server._programs.folder.glob("lib/kafka-clients-*.jar"))
        return jar.stem.removeprefix("kafka-clients-")

    def url(self, prefix: str) -> str:
        """What an app is told."""
        return f"{self.server.url_of(prefix)}&partitions={PARTITIONS}"

    def filled(self, count: int, keys: int | None) -> str:
        """The prefix of a topic that holds `count` orders as our relay writes them. Made once."""
        prefix = f"filled-{count}-{keys or 'distinct'}."
        if prefix not in self._filled:
            asyncio.run(_fill(self.url(prefix), count, keys))
            self._filled.add(prefix)
        return prefix

    def fresh(self) -> str:
        """A prefix, or the name of a group, that nobody has used."""
        self._made += 1
        return f"round-{self._made}."

    def empty(self) -> str:
        """The prefix of a new topic."""
        prefix = self.fresh()
        asyncio.run(_fill(self.url(prefix), 0, None))
        return prefix

    def length(self, prefix: str) -> int:
        """How many messages a topic holds."""
        consumer = Consumer({"bootstrap.servers": self.hosts, "group.id": "bench"})
        try:
            places = [TopicPartition(prefix + CHANNEL, number) for number in range(PARTITIONS)]
            ends = [consumer.get_watermark_offsets(each, timeout=_ANSWER_SECONDS) for each in places]
            return sum(last - first for first, last in ends)
        finally:
            consumer.close()


@contextmanager
def topics() -> Generator[Topics]:
    """A server of our own, for the time of a run."""
    with kafka() as server:
        yield Topics(server)


def order(number: int, keys: int | None) -> OrderPlaced:
    """An order of three lines: 278 bytes of JSON."""
    event = placed(number, keys)
    return replace(event, lines=(*event.lines, _THIRD))


async def _fill(url: str, count: int, keys: int | None) -> None:
    """By our own sink, so that what lies there is what a relay writes."""
    seams, encode = Seams(), msgspec.json.Encoder(decimal_format="string").encode
    broker = connect(url, seams.clock)
    await broker.open()
    await broker.create({CHANNEL: PARTITIONS})
    sink = broker.sink()
    for first in range(0, count, _BATCH):
        events = [order(number, keys) for number in range(first, min(count, first + _BATCH))]
        await sink.publish([_message(seams, first + at, event, encode(event)) for at, event in enumerate(events, 1)])
    await broker.close()


def _message(seams: Seams, position: int, event: OrderPlaced, body: bytes) -> Received:
    message_id = seams.ids.new()
    digits = message_id.replace("-", "")
    envelope = Envelope(
        id=message_id,
        type="order.placed",
        source="web",
        channel=CHANNEL,
        key=event.customer,
        time=datetime.now(UTC),
        correlation_id=message_id,
        trace=traceparent(digits, digits[16:]),
        sequence=position,
    )
    return Received(position, envelope, body)
