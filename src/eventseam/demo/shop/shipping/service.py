"""Shipping's table and handler."""

from __future__ import annotations

from eventseam import Ctx, Service
from eventseam.demo.shop.payments.contracts import PaymentSucceeded
from eventseam.demo.shop.shipping.contracts import ShipmentCreated
from eventseam.demo.shop.tables import by_dialect

TABLES = """
CREATE TABLE IF NOT EXISTS shipments (
    n           NUMBERED,
    order_id    TEXT NOT NULL,
    shipment_id TEXT NOT NULL,
    cause       TEXT NOT NULL
);
"""

KEEP = "INSERT INTO shipments (order_id, shipment_id, cause) VALUES ($1, $2, $3)"

shipping = Service("shipping", tables=by_dialect(TABLES))


@shipping.on(PaymentSucceeded)
async def ship(event: PaymentSucceeded, ctx: Ctx) -> None:
    """Pack what is paid."""
    shipment_id = ctx.new_id()
    ctx.write(KEEP, event.order_id, shipment_id, ctx.envelope.id)
    ctx.publish(ShipmentCreated(event.order_id, shipment_id))
