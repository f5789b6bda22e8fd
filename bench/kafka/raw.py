"""By hand, with confluent-kafka and asyncpg: the floor of consuming, and what a sink of ready bytes can do.

The floor takes 500 messages at once, decodes each CloudEvents document into a typed struct (its id, its type, and the
order in it), writes inbox and receipts by two `unnest` INSERTs in one transaction, and commits the group's offsets. One
thread; no lanes, no retry, no circuit, no time-out, no lease, no check of what it reads but its types.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from confluent_kafka import Consumer, Producer
from msgspec import Struct

from bench.contracts import OrderPlaced
from bench.kafka.topics import CHANNEL
from bench.postgres import raw
from bench.postgres.timing import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.kafka.topics import Topics
    from bench.measure import Timing

PRODUCED = 1_000
_JOIN_SECONDS = 30.0
_WAIT_SECONDS = 1.0
Row = tuple[str, bytes, bytes, list[tuple[str, str | bytes | None]]]
"""Topic, value, key and headers."""


class Document(Struct):
    """As much of a CloudEvents document as a consumer needs."""

    id: str
    type: str
    data: OrderPlaced


async def consume(url: str, topics: Topics, prefix: str, count: int) -> Timing:
    """From the first batch that is there to the commit of the last one's offsets."""
    connection = await asyncpg.connect(url)
    decode = msgspec.json.Decoder(Document).decode
    consumer = Consumer(
        {
            "bootstrap.servers": topics.hosts,
            "group.id": topics.fresh(),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([prefix + CHANNEL])
    batch = consumer.consume(raw.BATCH, _JOIN_SECONDS)
    watch, left = Watch(), count
    while True:
        await _apply(connection, [decode(message.value() or b"") for message in batch])
        consumer.commit(asynchronous=False)
        left -= len(batch)
        if not left:
            break
        batch = consumer.consume(min(raw.BATCH, left), _WAIT_SECONDS)
    found = watch.per(count)
    consumer.close()
    await connection.close()
    return found


async def _apply(connection: asyncpg.Connection[Any], documents: Sequence[Document]) -> None:
    ids = [each.id for each in documents]
    receipts = [(each.data.order_id, each.data.customer, each.data.total) for each in documents]
    async with connection.transaction():
        await connection.execute(raw.INBOX_MANY, ids, datetime.now(UTC))
        await connection.execute(raw.RECEIPT_MANY, *zip(*receipts, strict=True))


def produce(topics: Topics, rows: Sequence[Row]) -> Timing:
    """Produce a thousand and flush, until all of it is in. The first thousand connects, and is not counted."""
    producer = Producer({"bootstrap.servers": topics.hosts, "enable.idempotence": True, "linger.ms": 1})
    _send(producer, rows[:PRODUCED])
    watch = Watch()
    for first in range(PRODUCED, len(rows), PRODUCED):
        _send(producer, rows[first : first + PRODUCED])
    return watch.per(len(rows) - PRODUCED)


def _send(producer: Producer, rows: Sequence[Row]) -> None:
    for topic, value, key, headers in rows:
        producer.produce(topic, value, key, headers=headers)
    assert producer.flush() == 0
