"""Orders' tables and handlers. An order is accepted once, and decided once."""

from __future__ import annotations

from eventseam import Ctx, Service
from eventseam.demo.shop.inventory.contracts import ItemsReleased, ItemsUnavailable
from eventseam.demo.shop.orders.book import Book, open_book
from eventseam.demo.shop.orders.contracts import OrderConfirmed, OrderRejected, PlaceOrder, Reason
from eventseam.demo.shop.orders.rules import placed
from eventseam.demo.shop.shipping.contracts import ShipmentCreated
from eventseam.demo.shop.tables import by_dialect

TABLES = """
CREATE TABLE IF NOT EXISTS orders (
    order_id    TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    status      TEXT NOT NULL,
    accepted_at TEXT NOT NULL,
    decided_at  TEXT
);
CREATE TABLE IF NOT EXISTS order_decisions (
    n        NUMBERED,
    order_id TEXT NOT NULL,
    status   TEXT NOT NULL,
    cause    TEXT NOT NULL
);
"""

ACCEPT = "INSERT INTO orders (order_id, customer_id, status, accepted_at) VALUES ($1, $2, 'accepted', $3)"
DECIDE = "UPDATE orders SET status = $2, decided_at = $3 WHERE order_id = $1"
KEEP = "INSERT INTO order_decisions (order_id, status, cause) VALUES ($1, $2, $3)"

orders = Service("orders", deps=open_book, tables=by_dialect(TABLES))


@orders.handle(PlaceOrder)
async def place(command: PlaceOrder, ctx: Ctx[Book]) -> str:
    """Accept an order, and publish that, once; a customer who asks again gets the same answer again."""
    if not await ctx.deps.has(command.order_id):
        ctx.write(ACCEPT, command.order_id, command.customer_id, ctx.now().isoformat())
        ctx.publish(placed(command))
    return command.order_id


@orders.on(ShipmentCreated)
async def confirm(event: ShipmentCreated, ctx: Ctx) -> None:
    """The parcel is on its way: the order is confirmed."""
    decide(event.order_id, "confirmed", ctx)
    ctx.publish(OrderConfirmed(event.order_id))


@orders.on(ItemsUnavailable, ItemsReleased)
async def reject(event: ItemsUnavailable | ItemsReleased, ctx: Ctx) -> None:
    """There was nothing to reserve, or what was reserved is given back because the payment failed."""
    reason: Reason = "items unavailable" if isinstance(event, ItemsUnavailable) else "payment failed"
    decide(event.order_id, reason, ctx)
    ctx.publish(OrderRejected(event.order_id, reason))


def decide(order_id: str, status: str, ctx: Ctx) -> None:
    """Write the order's last status, and keep which message was the cause."""
    ctx.write(DECIDE, order_id, status, ctx.now().isoformat())
    ctx.write(KEEP, order_id, status, ctx.envelope.id)
