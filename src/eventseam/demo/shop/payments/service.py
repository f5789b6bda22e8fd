"""Payments' table and handler. While the gateway is down the circuit waits and burns no attempt of any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eventseam import Circuit, Ctx, Retry, Service
from eventseam.demo.outside import open_gateway
from eventseam.demo.shop.inventory.contracts import ItemsReserved
from eventseam.demo.shop.payments.rules import decide
from eventseam.demo.shop.tables import by_dialect

if TYPE_CHECKING:
    from decimal import Decimal

TABLES = """
CREATE TABLE IF NOT EXISTS payments (
    n        NUMBERED,
    order_id TEXT NOT NULL,
    amount   TEXT,
    receipt  TEXT,
    cause    TEXT NOT NULL
);
"""

KEEP = "INSERT INTO payments (order_id, amount, receipt, cause) VALUES ($1, $2, $3, $4)"


class Gateway(Protocol):
    """What payments asks of the card gateway."""

    async def charge(self, order_id: str, amount: Decimal, *, idempotency_key: str) -> str | None:
        """The receipt, or None where the card is declined. The same key is charged once. Raises ConnectionError."""
        ...


payments = Service("payments", deps=open_gateway, tables=by_dialect(TABLES))


@payments.on(
    ItemsReserved,
    retry=Retry(attempts=12, first_seconds=0.5, max_seconds=60),
    circuit=Circuit(failures=5, probe_seconds=0.25, probe_seconds_max=1.0),
)
async def charge(event: ItemsReserved, ctx: Ctx[Gateway]) -> None:
    """Charge the customer, and say whether that worked. The key makes a second attempt the same charge."""
    amount = receipt = None
    if event.amount is not None:
        amount = str(event.amount)
        receipt = await ctx.deps.charge(event.order_id, event.amount, idempotency_key=ctx.idempotency_key)
    ctx.write(KEEP, event.order_id, amount, receipt, ctx.envelope.id)
    ctx.publish(decide(event, receipt))
