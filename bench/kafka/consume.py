"""Idempotent consume from Kafka into PostgreSQL: the inbox and a row per message, from topics filled beforehand."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench.contracts import OrderPlaced
from bench.engine import Finish
from bench.kafka import raw
from bench.kafka.topics import PARTITIONS
from bench.measure import Case, Comparison, Variant
from bench.postgres import raw as rows
from bench.postgres.services import TABLES, WRITE
from bench.postgres.timing import Watch, with_servers
from eventseam import App, Ctx, Service, Settings
from eventseam.transports.kafka import KafkaSource

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence

    from bench.kafka.topics import Topics
    from bench.measure import Timing
    from bench.postgres.databases import Databases
    from eventseam.ports.transport import Cursor

    Work = Callable[[str, Topics, str, int], Coroutine[Any, Any, Timing]]

CLASSIC = "FastStream Confluent, classic body"
_FLOOR = (
    "consume(500), typed decode of the CloudEvents document, inbox and row by unnest, COMMIT, offsets; nothing else"
)
_TODAY = (
    "pydantic; SELECT, BEGIN, 2 INSERTs, COMMIT, ack per message; a failing message comes again at once, or is lost"
)
_OURS = "all of it, and lanes, retry, circuit, time-outs, fence, lease, position, stop, limits; the relay beside it"
_MUST_OF_RAW = {None: 0.6, 200: 0.45}
_MUST_OF_CLASSIC = 30.0
_CLASSIC_MESSAGES = 500


def consume(count: int, databases: Databases, topics: Topics) -> Case:
    """Drain topics of `count` messages. Also checks that every variant has written the same number of rows."""
    measured = _Measured(databases, topics)
    variants = [Variant(CLASSIC, measured.of(_faststream, min(count, _CLASSIC_MESSAGES), None), _TODAY)]
    comparisons: list[Comparison] = []
    for keys, must in _MUST_OF_RAW.items():
        called = f"{keys} keys" if keys else "distinct keys"
        ours, floor = f"eventseam, {called}", f"raw, {called}"
        variants.append(Variant(floor, measured.of(raw.consume, count, keys), _FLOOR))
        variants.append(Variant(ours, measured.of(consume_by_app, count, keys), _OURS))
        comparisons.append(Comparison(f"Kafka, {ours}: of raw", ours, floor, must=must))
        least = _MUST_OF_CLASSIC if keys is None else None
        comparisons.append(Comparison(f"Kafka, {ours}: times FastStream classic", ours, CLASSIC, must=least))
    title = f"Consume from Kafka, {PARTITIONS} partitions: inbox and one row per message on PostgreSQL"
    return Case("kafka-consume", title, variants, comparisons)


class _Measured:
    """Rounds, each on a fresh copy of an empty database."""

    def __init__(self, databases: Databases, topics: Topics) -> None:
        self._databases, self._topics = databases, topics
        self._template = databases.filled(0, None)

    def of(self, work: Work, count: int, keys: int | None) -> Callable[[], Timing]:
        """One round of some work on `count` messages."""
        prefix = self._topics.filled(count, keys)
        pids = (self._databases.server.pid, self._topics.server.pid)

        def measure() -> Timing:
            url = self._databases.fresh(self._template)
            found = with_servers(pids, count, lambda: asyncio.run(work(url, self._topics, prefix, count)))
            written = rows.counts(url)[:2]
            assert written == (count, count), f"expected {count} receipts and inbox rows, found {written}"
            return found

        return measure


async def _faststream(url: str, topics: Topics, prefix: str, count: int) -> Timing:
    from bench.kafka.peers import faststream  # it is installed for `make bench` only

    return await faststream(url, topics, prefix, count)


def receipts() -> Service[object]:
    """One handler that records one row. It publishes nothing, since the floor does not."""
    service: Service[object] = Service("receipts", tables=TABLES)

    @service.on(OrderPlaced)
    async def make(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.write(WRITE, event.order_id, event.customer, event.total)

    return service


async def consume_by_app(
    url: str, topics: Topics, prefix: str, count: int, *, begun: Callable[[], None] | None = None
) -> Timing:
    """From the first batch that the client hands over to the commit of the last message's effects."""
    probe = Finish(count)
    app = App(receipts(), settings=Settings(database=url, transport=topics.url(prefix)), probe=probe)
    with _first_batch(begun) as watches:
        async with app.running():
            await probe.done.wait()
            return watches[0].per(count, probe.ended)


@contextmanager
def _first_batch(begun: Callable[[], None] | None) -> Generator[list[Watch]]:
    """Start a watch with the fetch that finds the first messages: they are there, as the floor's are, and not read."""
    watches: list[Watch] = []
    inner = KafkaSource.fetch

    async def noting(source: KafkaSource, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Any:
        watch = None if watches else Watch()
        pages = await inner(source, at, channels, limit)
        if watch is not None and any(page.messages for page in pages):
            watches.append(watch)
            if begun is not None:
                begun()
        return pages

    with patch.object(KafkaSource, "fetch", noting):
        yield watches
