"""In-process publish to handled beside FastStream's in-memory brokers, bubus and blinker: one message after another.

They do not promise the same; each variant says what it does. Only the order of magnitude is worth comparing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import blinker
from bubus import BaseEvent, EventBus
from faststream.nats import NatsBroker, TestNatsBroker
from faststream.redis import RedisBroker, TestRedisBroker
from pydantic import BaseModel

from bench import engine, inline
from bench.measure import Case, Comparison, Variant
from bench.sqlite import copied

if TYPE_CHECKING:
    from pathlib import Path

BLINKER, NATS, BUBUS = "blinker send_async", "FastStream TestNatsBroker", "bubus dispatch"
JOURNAL = "eventseam, journal, full, batches of 500"
MEMORY = "memory only: lost at a crash; an error goes to the publisher or the log"
DURABLE = "durable: written, handled and committed on SQLite, each once, in order per key, with retries"


class Order(BaseModel):
    order_id: str
    customer: str
    total: str


class OrderEvent(BaseEvent[None]):
    order_id: str
    customer: str
    total: str


_FIELDS = {"order_id": "order-000000000017", "customer": "customer-00000017", "total": "144.80"}
Publish = Callable[[], Awaitable[object]]


def peers(count: int, folder: Path) -> Case:
    """About `count` messages per round and variant; fewer for the slow ones."""
    template = folder / "peers.db"
    asyncio.run(engine.migrate(template))

    def durable(durability: str, batched: bool) -> Callable[[], float]:  # noqa: FBT001 - two forms of one variant
        work, number = (engine.publish, count) if batched else (engine.one_by_one, max(50, count // 20))
        return lambda: asyncio.run(work(copied(template), durability, number)) / number * 1e6

    variants = [
        Variant(BLINKER, lambda: asyncio.run(_blinker(count)), f"{MEMORY}; no contract, no copy"),
        *inline.inline(count).variants,
        Variant(NATS, lambda: asyncio.run(_nats(count // 10)), f"{MEMORY}; pydantic contract"),
        Variant("FastStream TestRedisBroker", lambda: asyncio.run(_redis(count // 10)), f"{MEMORY}; pydantic contract"),
        Variant(BUBUS, lambda: asyncio.run(_bubus(count // 50)), f"{MEMORY}; pydantic contract"),
        Variant("eventseam, journal, full, one by one", durable("full", batched=False), DURABLE),
        Variant(JOURNAL, durable("full", batched=True), DURABLE),
        Variant("eventseam, journal, normal, one by one", durable("normal", batched=False), DURABLE),
        Variant("eventseam, journal, normal, batches of 500", durable("normal", batched=True), DURABLE),
    ]
    pairs = [(ours, peer) for ours in (inline.INLINE, JOURNAL) for peer in (BLINKER, NATS, BUBUS)]
    comparisons = [Comparison(f"{ours}: times the speed of {peer}", ours, peer) for ours, peer in pairs]
    return Case("peers", "In process, publish to handled, beside peers that keep nothing", variants, comparisons)


async def _blinker(count: int) -> float:
    signal, order = blinker.Signal(), Order(**_FIELDS)

    async def handle(_: object, order: Order) -> None:
        pass

    signal.connect(handle)
    return await _timed(lambda: signal.send_async("shop", order=order), count)


async def _bubus(count: int) -> float:
    bus = EventBus()

    async def handle(_: OrderEvent) -> None:
        pass

    bus.on(OrderEvent, handle)
    try:
        return await _timed(lambda: bus.dispatch(OrderEvent(**_FIELDS)), count)  # type: ignore[arg-type]
    finally:
        await bus.stop()


async def _nats(count: int) -> float:
    return await _faststream(NatsBroker(), TestNatsBroker, count)


async def _redis(count: int) -> float:
    return await _faststream(RedisBroker(), TestRedisBroker, count)


async def _faststream(broker: Any, test_broker: Any, count: int) -> float:
    @broker.subscriber("orders")
    async def handle(_: Order) -> None:
        pass

    order = Order(**_FIELDS)
    async with test_broker(broker):
        return await _timed(lambda: broker.publish(order, "orders"), count)


async def _timed(publish: Publish, count: int) -> float:
    for _ in range(10):
        await publish()
    began = time.perf_counter()
    for _ in range(count):
        await publish()
    return (time.perf_counter() - began) / count * 1e6
