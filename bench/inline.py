"""Inline dispatch: an internal event published to an inline handler, beside awaiting that handler's function."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from bench.measure import SLICES, Case, Comparison, Variant
from eventseam import Channel, Ctx, Envelope, Seams, Service
from eventseam.app.handlers import Bench
from eventseam.contracts.message import message_type
from eventseam.contracts.registry import Registry
from eventseam.delivery.handler import Incoming

if TYPE_CHECKING:
    from eventseam.delivery.handler import RunAsync

INLINE = "eventseam, inline handler"
EVENTS = 100
"""How many internal events one record publishes."""

shelf = Channel("shelf", key="sku", internal=True)


@shelf.event("shelf.counted")
class ShelfCounted(Struct, frozen=True):
    sku: str
    free: int


@shelf.event("shelf.emptied")
class ShelfEmptied(Struct, frozen=True):
    sku: str


def inline(count: int) -> Case:
    """`count` internal events per round and variant."""
    variants = [
        Variant("bare await", lambda: asyncio.run(_timed(_bare(), count)), "a function call; nothing kept"),
        Variant(
            INLINE,
            lambda: asyncio.run(_timed(_inline(), count)),
            "encoded, recorded with its writes, handled; kept when the record is applied",
        ),
    ]
    over = Comparison("inline dispatch over the bare await", INLINE, "bare await", "difference", must=2.0)
    return Case("inline", "Inline dispatch of an internal event", variants, [over], per="event")


async def count_shelf(event: ShelfEmptied, ctx: Ctx) -> None:
    """The handler of both variants."""


def _bare() -> RunAsync:
    service: Service[object] = Service("inventory")

    @service.on(ShelfCounted)
    async def outer(_: ShelfCounted, ctx: Ctx) -> None:
        for _ in range(EVENTS):
            await count_shelf(ShelfEmptied("sku-00017"), ctx)

    return _run_of(service)


def _inline() -> RunAsync:
    service: Service[object] = Service("inventory")
    service.on(ShelfEmptied, inline=True)(count_shelf)

    @service.on(ShelfCounted)
    async def outer(_: ShelfCounted, ctx: Ctx) -> None:
        for _ in range(EVENTS):
            ctx.publish(ShelfEmptied("sku-00017"))

    return _run_of(service)


def _run_of(service: Service[object]) -> RunAsync:
    """The one handler that the engine would call."""
    registry = Registry([message_type(ShelfCounted), message_type(ShelfEmptied)])
    run = Bench(service, Seams(), None).handlers(registry)[0].run
    assert run is not None
    return run


async def _timed(run: RunAsync, count: int) -> float:
    envelope = Envelope(
        id="1", type="shelf.counted", source="inventory", channel="shelf", key="sku-00017", time=datetime.now(UTC),
        correlation_id="1",
    )  # fmt: skip
    batch = [Incoming(ShelfCounted("sku-00017", 0), envelope)]
    await run(batch)
    records, best = count // EVENTS // SLICES, float("inf")
    for _ in range(SLICES):
        began = time.perf_counter()
        for _ in range(records):
            await run(batch)
        best = min(best, time.perf_counter() - began)
    return best / (records * EVENTS) * 1e6
