"""The messages of the SQLite cases, and the one service that handles them."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from eventseam import Channel, Ctx, Service

order = Channel("order", key="customer")
receipt = Channel("receipt", key="order_id")


class Line(Struct, frozen=True):
    sku: str
    quantity: int
    price: Decimal


@order.event("order.placed")
class OrderPlaced(Struct, frozen=True):
    """About 220 bytes of JSON, like an order of the shop."""

    order_id: str
    customer: str
    email: str
    total: Decimal
    lines: tuple[Line, ...]


@receipt.event("receipt.made")
class ReceiptMade(Struct, frozen=True):
    order_id: str
    total: Decimal


TABLES = "CREATE TABLE IF NOT EXISTS receipts (order_id TEXT PRIMARY KEY, customer TEXT NOT NULL, total TEXT NOT NULL);"
WRITE = "INSERT INTO receipts (order_id, customer, total) VALUES ($1, $2, $3)"


def placed(number: int, keys: int | None) -> OrderPlaced:
    """Order `number` of one of `keys` customers, or of a customer of its own."""
    customer = f"customer-{number if keys is None else number % keys:08d}"
    lines = (Line("sku-00017", 2, Decimal("19.90")), Line("sku-00251", 1, Decimal("105.00")))
    return OrderPlaced(f"order-{number:012d}", customer, f"{customer}@example.org", Decimal("144.80"), lines)


def receipts_service() -> Service[object]:
    """One handler, one business row and one published event per message."""
    service: Service[object] = Service("receipts", tables=TABLES)

    @service.on(OrderPlaced)
    async def make(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.write(WRITE, event.order_id, event.customer, event.total)
        ctx.publish(ReceiptMade(event.order_id, event.total))

    return service
