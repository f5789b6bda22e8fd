"""The relay from a full journal on PostgreSQL to Kafka, beside its sink alone and beside ready bytes by hand.

All of them begin to count when the first page is in: connecting is not measured.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from bench.kafka import raw
from bench.kafka.consume import receipts
from bench.kafka.topics import CHANNEL, PARTITIONS
from bench.measure import Case, Comparison, Variant
from bench.postgres.timing import Watch, with_servers
from eventseam import App, Seams, Service, Settings
from eventseam.app.stores import open_source, open_store
from eventseam.delivery.options import EngineOptions
from eventseam.journal.source import Hint
from eventseam.ports.wire import Style, outward
from eventseam.transports.kafka import KafkaSink, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from bench.kafka.topics import Topics
    from bench.measure import Timing
    from bench.postgres.databases import Databases
    from eventseam.ports.transport import Received

PAGE = EngineOptions().page_max
_FIRST = (1, "1:1:")
_OURS, _SINK, _RAW = f"eventseam, pages of {PAGE}", f"its sink alone, batches of {PAGE}", "raw, produce 1,000 and flush"


def relay(count: int, databases: Databases, topics: Topics) -> Case:
    """Copy a journal of `count` messages to a new topic. Also checks that each of them is there once."""
    template = databases.filled(count, None)
    messages = asyncio.run(_messages(databases.fresh(template), count))
    pids = (databases.server.pid, topics.server.pid)

    def measured(work: Callable[[str, str], Timing]) -> Callable[[], Timing]:
        def measure() -> Timing:
            url, prefix = databases.fresh(template), topics.empty()
            found = with_servers(pids, count, lambda: work(url, prefix))
            length = topics.length(prefix)
            assert length == count, f"expected {count} messages, found {length}"
            return found

        return measure

    def by_app(url: str, prefix: str) -> Timing:
        return asyncio.run(relay_by_app(url, topics, prefix, count))

    def by_sink(_: str, prefix: str) -> Timing:
        return asyncio.run(_by_sink(topics.url(prefix), messages))

    def by_hand(_: str, prefix: str) -> Timing:
        return raw.produce(topics, [_ready(prefix, each) for each in messages])

    variants = [
        Variant(
            _OURS, measured(by_app), "reads, and envelopes, lease, slots, notes under a fence, dead letters, retry"
        ),
        Variant(_SINK, measured(by_sink), "bytes, produce"),
        Variant(_RAW, measured(by_hand), "bytes that are ready; nothing else"),
    ]
    comparisons = [
        Comparison("Kafka, relay of its sink", _OURS, _SINK, must=0.6),
        Comparison("Kafka, relay of raw", _OURS, _RAW),
        Comparison("Kafka, its sink of raw", _SINK, _RAW),
    ]
    title = f"Relay a journal on PostgreSQL to Kafka, {PARTITIONS} partitions"
    return Case("kafka-relay", title, variants, comparisons)


async def _messages(url: str, count: int) -> list[Received]:
    """The whole journal, as a relay reads it."""
    store = open_store(Settings(database=url), Seams())
    source = open_source(store, Hint())
    await source.prepare()
    at = dict.fromkeys(range(store.slots), _FIRST)
    found: list[Received] = []
    while len(found) < count:
        pages = await source.fetch(at, [CHANNEL], PAGE)
        at |= {page.slot: page.end for page in pages}
        found += sorted((each for page in pages for each in page.messages), key=lambda each: each.position)
    await store.close()
    return found


def _ready(prefix: str, message: Received) -> raw.Row:
    headers, body = outward(message, Style())
    return prefix + CHANNEL, body, message.envelope.key.encode(), list(headers.items())


async def relay_by_app(
    url: str, topics: Topics, prefix: str, count: int, *, begun: Callable[[], None] | None = None
) -> Timing:
    """A process that only publishes: it runs a service without handlers, beside one that runs elsewhere."""
    app = App(Service("web"), receipts(), settings=Settings(database=url, transport=topics.url(prefix)))
    with _landing(count, begun) as landed:
        async with app.running(only=["web"]):
            await landed.done.wait()
            return landed.timing()


async def _by_sink(transport: str, messages: Sequence[Received]) -> Timing:
    broker = connect(transport, Seams().clock)
    await broker.open()
    await broker.layouts([CHANNEL])
    sink = broker.sink()
    with _landing(len(messages)) as landed:
        for first in range(0, len(messages), PAGE):
            await sink.publish(messages[first : first + PAGE])
    await broker.close()
    return landed.timing()


class _Landed:
    """What sinks have brought in, from the first batch on."""

    def __init__(self, count: int, begun: Callable[[], None] | None) -> None:
        self._begun = begun
        self.done = asyncio.Event()
        self._left = self._counted = count
        self._watch: Watch | None = None
        self._ended = 0.0

    def add(self, number: int) -> None:
        """A batch is in."""
        self._left -= number
        if self._watch is None:
            self._watch, self._counted = Watch(), self._left
            if self._begun is not None:
                self._begun()
        if self._left <= 0:
            self._ended = time.perf_counter()
            self.done.set()

    def timing(self) -> Timing:
        """Of every batch but the first."""
        assert self._watch is not None
        return self._watch.per(self._counted, self._ended)


@contextmanager
def _landing(count: int, begun: Callable[[], None] | None = None) -> Generator[_Landed]:
    """Count what sinks of Kafka publish."""
    landed, inner = _Landed(count, begun), KafkaSink.publish

    async def noting(sink: KafkaSink, batch: Sequence[Received]) -> None:
        await inner(sink, batch)
        landed.add(len(batch))

    with patch.object(KafkaSink, "publish", noting):
        yield landed
