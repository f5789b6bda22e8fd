"""A FastStream handler with the classic body, fed by its own in-memory broker: what users of brokers write today."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from faststream.redis import RedisBroker, TestRedisBroker
from pydantic import BaseModel

from bench.contracts import ReceiptMade, placed
from bench.postgres import raw
from bench.postgres.timing import Watch
from eventseam.clock import Uuid7Ids

if TYPE_CHECKING:
    from bench.measure import Timing


class Line(BaseModel):
    sku: str
    quantity: int
    price: Decimal


class Order(BaseModel):
    message_id: str
    order_id: str
    customer: str
    email: str
    total: Decimal
    lines: tuple[Line, ...]


def faststream(url: str, count: int) -> Timing:
    """Publish `count` orders one after another; each is handled and committed before the next."""
    return asyncio.run(_faststream(url, count))


async def _faststream(url: str, count: int) -> Timing:
    connection = await asyncpg.connect(url)
    broker: Any = RedisBroker()
    encode, new_id = msgspec.json.Encoder(decimal_format="string").encode, Uuid7Ids().new

    @broker.subscriber("orders")  # type: ignore[untyped-decorator]
    async def handle(order: Order) -> None:
        cause, body = order.message_id, encode(ReceiptMade(order.order_id, order.total)).decode()
        event = (
            "receipt",
            order.order_id,
            "receipt.made",
            body,
            datetime.now(UTC),
            new_id(),
            "receipts",
            cause,
            cause,
            None,
        )
        await raw.handle(connection, cause, (order.order_id, order.customer, order.total), event)

    orders = [msgspec.to_builtins(placed(number, None)) | {"message_id": new_id()} for number in range(count)]
    async with TestRedisBroker(broker):
        watch = Watch()
        for order in orders:
            await broker.publish(order, "orders")
        found = watch.per(count)
    await connection.close()
    return found
