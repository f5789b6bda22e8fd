"""When an order is paid. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.demo.shop.payments.contracts import PaymentFailed, PaymentSucceeded

if TYPE_CHECKING:
    from eventseam.demo.shop.inventory.contracts import ItemsReserved


def decide(items: ItemsReserved, receipt: str | None) -> PaymentSucceeded | PaymentFailed:
    """Succeeded with an amount and the gateway's receipt for it; failed without either."""
    if items.amount is None or receipt is None:
        return PaymentFailed(items.order_id)
    return PaymentSucceeded(items.order_id, items.amount, receipt)
