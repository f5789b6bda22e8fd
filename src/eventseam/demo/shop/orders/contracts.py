"""What orders says: the channel `order`, keyed by order. Amounts are exact decimals in the shop's one currency."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from eventseam import Channel, Limit

order = Channel("order", key="order_id", limit=Limit(pending_max=100_000))

Reason = Literal["items unavailable", "payment failed"]


class Line(Struct, frozen=True):
    """One item of an order."""

    product_id: str
    price: Decimal


@order.command("order.place")
class PlaceOrder(Struct, frozen=True):
    """A customer wants these lines and offers these payments. Answered with the order's id, once it is accepted."""

    order_id: str
    customer_id: str
    state: str
    lines: tuple[Line, ...]
    payments: tuple[Decimal, ...]


@order.event("order.placed")
class OrderPlaced(Struct, frozen=True):
    """An order is accepted. `amount` is the exact sum of its payments; None where the customer offered none."""

    order_id: str
    customer_id: str
    state: str
    lines: tuple[Line, ...]
    amount: Decimal | None


@order.event("order.confirmed", details="/orders/{order_id}")
class OrderConfirmed(Struct, frozen=True):
    """A notification: the order is paid and on its way. Everything else about it is behind the link."""

    order_id: str


@order.event("order.rejected")
class OrderRejected(Struct, frozen=True):
    """The order will not be delivered, and nothing of it is kept or charged."""

    order_id: str
    reason: Reason
