"""Analytics' tables and handlers: sales as they are placed, then whether they were earned or missed.

Revenue is not kept but read: `reading.py` joins what was placed with what was confirmed, whichever was seen first.
"""

from __future__ import annotations

from eventseam import Ctx, NotYet, Service, Tx
from eventseam.demo.shop.orders.contracts import OrderConfirmed, OrderPlaced, OrderRejected
from eventseam.demo.shop.tables import by_dialect

TABLES = """
CREATE TABLE IF NOT EXISTS sales (
    n        NUMBERED,
    order_id TEXT NOT NULL,
    state    TEXT NOT NULL,
    amount   TEXT
);
CREATE INDEX IF NOT EXISTS sales_of_order ON sales (order_id);
CREATE TABLE IF NOT EXISTS earned_sales (
    n        NUMBERED,
    order_id TEXT NOT NULL,
    cause    TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS missed_sales (
    n        NUMBERED,
    order_id TEXT NOT NULL,
    amount   TEXT,
    reason   TEXT NOT NULL,
    cause    TEXT NOT NULL
);
"""

INGEST = "INSERT INTO sales (order_id, state, amount) VALUES ($1, $2, $3)"
EARN = "INSERT INTO earned_sales (order_id, cause) VALUES ($1, $2)"
MISS = """
INSERT INTO missed_sales (order_id, amount, reason, cause)
SELECT order_id, amount, $2, $3 FROM sales WHERE order_id = $1
"""

analytics = Service("analytics", tables=by_dialect(TABLES))


@analytics.on_batch(OrderPlaced, max=500)
async def ingest(events: list[OrderPlaced], ctx: Ctx) -> None:
    """Keep what was placed, many at a time: nobody waits for it."""
    for event in events:
        amount = None if event.amount is None else str(event.amount)
        ctx.write(INGEST, event.order_id, event.state, amount)


@analytics.on(OrderConfirmed)
async def earn(event: OrderConfirmed, ctx: Ctx) -> None:
    """Note that a sale is earned. The notification says which, not how much."""
    ctx.write(EARN, event.order_id, ctx.envelope.id)


@analytics.on_tx(OrderRejected)
async def miss(event: OrderRejected, tx: Tx) -> None:
    """Note what a rejected order would have brought. `ingest` is another lane and may be behind: then this waits."""
    if not await tx.execute(MISS, event.order_id, event.reason, tx.envelope.id):
        raise NotYet(f"the sale of order {event.order_id}")
