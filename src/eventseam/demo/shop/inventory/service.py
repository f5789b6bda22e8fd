"""Inventory's tables and handlers. `stock.reserved` counts, so an effect applied twice would show for ever."""

from __future__ import annotations

from typing import Protocol

from eventseam import Ctx, NotYet, Service, SyncTx
from eventseam.demo.outside import open_warehouse
from eventseam.demo.shop.inventory.contracts import ItemsReleased, ItemsReserved
from eventseam.demo.shop.inventory.rules import decide
from eventseam.demo.shop.orders.contracts import OrderPlaced
from eventseam.demo.shop.payments.contracts import PaymentFailed
from eventseam.demo.shop.tables import by_dialect

TABLES = """
CREATE TABLE IF NOT EXISTS stock (
    product_id TEXT PRIMARY KEY,
    reserved   INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS reservations (
    order_id   TEXT NOT NULL,
    product_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS reservations_of_order ON reservations (order_id);
CREATE TABLE IF NOT EXISTS inventory_decisions (
    n        NUMBERED,
    order_id TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    cause    TEXT NOT NULL
);
"""

SET_ASIDE = """
INSERT INTO stock (product_id, reserved) VALUES ($1, 1)
ON CONFLICT (product_id) DO UPDATE SET reserved = stock.reserved + 1
"""
GIVE_BACK = "UPDATE stock SET reserved = reserved - 1 WHERE product_id = $1"
RESERVE = "INSERT INTO reservations (order_id, product_id) VALUES ($1, $2)"
RESERVED = "SELECT product_id FROM reservations WHERE order_id = $1"
RELEASE = "DELETE FROM reservations WHERE order_id = $1"
KEEP = "INSERT INTO inventory_decisions (order_id, outcome, cause) VALUES ($1, $2, $3)"


class Warehouse(Protocol):
    """What inventory asks of the warehouse."""

    async def has(self, order_id: str) -> bool:
        """Whether the items of an order can be had."""
        ...


inventory = Service("inventory", deps=open_warehouse, tables=by_dialect(TABLES))


@inventory.on(OrderPlaced)
async def reserve(event: OrderPlaced, ctx: Ctx[Warehouse]) -> None:
    """Ask the warehouse, and set the items aside or say that they cannot be had."""
    outcome = decide(event, in_stock=await ctx.deps.has(event.order_id))
    if isinstance(outcome, ItemsReserved):
        for line in event.lines:
            ctx.write(SET_ASIDE, line.product_id)
            ctx.write(RESERVE, event.order_id, line.product_id)
    ctx.write(KEEP, event.order_id, type(outcome).__name__, ctx.envelope.id)
    ctx.publish(outcome)


@inventory.on_tx(PaymentFailed)
def release(event: PaymentFailed, tx: SyncTx) -> None:
    """Give back what is reserved for an order that nobody pays: read it and free it in one transaction."""
    rows = tx.fetch_all(RESERVED, event.order_id)
    if not rows:
        raise NotYet(f"the reservation of order {event.order_id}")
    for row in rows:
        tx.execute(GIVE_BACK, row["product_id"])
    tx.execute(RELEASE, event.order_id)
    tx.execute(KEEP, event.order_id, "ItemsReleased", tx.envelope.id)
    tx.publish(ItemsReleased(event.order_id))
