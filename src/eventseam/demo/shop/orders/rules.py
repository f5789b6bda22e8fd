"""How orders reads what a customer placed. Pure."""

from __future__ import annotations

from decimal import Decimal

from eventseam.demo.shop.orders.contracts import OrderPlaced, PlaceOrder


def placed(command: PlaceOrder) -> OrderPlaced:
    """The accepted order. Its amount is the exact sum of its payments; None says that there are none."""
    amount = sum(command.payments, Decimal(0)) if command.payments else None
    return OrderPlaced(command.order_id, command.customer_id, command.state, command.lines, amount)
