"""Analytics' tables and handlers: sales as they are placed, revenue by state as they are confirmed.

`revenue` is written with exact decimals, so a handler reads the row before it adds to it: one transaction per message.
"""

from __future__ import annotations

from decimal import Decimal

from eventseam import Ctx, NotYet, Service, Tx
from eventseam.demo.shop.orders.contracts import OrderConfirmed, OrderPlaced

TABLES = """
CREATE TABLE IF NOT EXISTS sales (
    n        INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT NOT NULL,
    state    TEXT NOT NULL,
    amount   TEXT
);
CREATE INDEX IF NOT EXISTS sales_of_order ON sales (order_id);
CREATE TABLE IF NOT EXISTS revenue (
    state  TEXT PRIMARY KEY,
    orders INTEGER NOT NULL,
    amount TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS revenue_entries (
    n        INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT NOT NULL,
    amount   TEXT NOT NULL,
    cause    TEXT NOT NULL
);
"""

INGEST = "INSERT INTO sales (order_id, state, amount) VALUES ($1, $2, $3)"
SALE = "SELECT state, amount FROM sales WHERE order_id = $1"
REVENUE = "SELECT amount FROM revenue WHERE state = $1"
ADD = """
INSERT INTO revenue (state, orders, amount) VALUES ($1, 1, $2)
ON CONFLICT (state) DO UPDATE SET orders = orders + 1, amount = excluded.amount
"""
KEEP = "INSERT INTO revenue_entries (order_id, amount, cause) VALUES ($1, $2, $3)"

analytics = Service("analytics", tables=TABLES)


@analytics.on_batch(OrderPlaced, max=500)
async def ingest(events: list[OrderPlaced], ctx: Ctx) -> None:
    """Keep what will be needed when an order is confirmed; many at a time, because nobody waits for it."""
    for event in events:
        ctx.write(INGEST, event.order_id, event.state, event.amount)


@analytics.on_tx(OrderConfirmed)
async def earn(event: OrderConfirmed, tx: Tx) -> None:
    """Add the sale to its state's revenue. It may be confirmed before `ingest` has seen it: then it waits."""
    sale = await tx.fetch_one(SALE, event.order_id)
    if sale is None:
        raise NotYet(f"the sale of order {event.order_id}")
    before = await tx.fetch_one(REVENUE, sale["state"])
    amount = Decimal(sale["amount"])
    total = amount if before is None else Decimal(before["amount"]) + amount
    await tx.execute(ADD, sale["state"], total)
    await tx.execute(KEEP, event.order_id, amount, tx.envelope.id)
