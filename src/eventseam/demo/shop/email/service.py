"""Email's table and handler: a plain `def`, because the libraries that send mail block."""

from __future__ import annotations

from eventseam import Ctx, Service
from eventseam.demo.shop.orders.contracts import OrderConfirmed, OrderPlaced, OrderRejected
from eventseam.demo.shop.tables import by_dialect

TABLES = """
CREATE TABLE IF NOT EXISTS emails (
    n        NUMBERED,
    order_id TEXT NOT NULL,
    subject  TEXT NOT NULL,
    cause    TEXT NOT NULL
);
"""

SEND = "INSERT INTO emails (order_id, subject, cause) VALUES ($1, $2, $3)"

email = Service("email", tables=by_dialect(TABLES))


@email.on(OrderPlaced, OrderConfirmed, OrderRejected)
def tell(event: OrderPlaced | OrderConfirmed | OrderRejected, ctx: Ctx) -> None:
    """One mail per event, in their order: nobody reads "confirmed" before "received"."""
    ctx.write(SEND, event.order_id, subject(event), ctx.envelope.id)


def subject(event: OrderPlaced | OrderConfirmed | OrderRejected) -> str:
    """What the customer reads first."""
    match event:
        case OrderPlaced():
            return f"We received your order {event.order_id}"
        case OrderConfirmed():
            return f"Your order {event.order_id} is on its way"
        case OrderRejected():
            return f"We are sorry: {event.reason} (order {event.order_id})"
