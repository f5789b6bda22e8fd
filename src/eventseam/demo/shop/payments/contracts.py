"""What payments says: the channel `payment`, keyed by order."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from eventseam import Channel

payment = Channel("payment", key="order_id")


@payment.event("payment.succeeded")
class PaymentSucceeded(Struct, frozen=True):
    """The customer has paid `amount`; `receipt` is the gateway's."""

    order_id: str
    amount: Decimal
    receipt: str


@payment.event("payment.failed")
class PaymentFailed(Struct, frozen=True):
    """The customer has not paid and will not: no payment was offered, or the gateway declined it."""

    order_id: str
