"""When the items of an order can be had. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.demo.shop.inventory.contracts import ItemsReserved, ItemsUnavailable

if TYPE_CHECKING:
    from eventseam.demo.shop.orders.contracts import OrderPlaced


def decide(order: OrderPlaced, *, in_stock: bool) -> ItemsReserved | ItemsUnavailable:
    """Reserved where there are items and the warehouse has them; unavailable otherwise."""
    if order.lines and in_stock:
        return ItemsReserved(order.order_id, order.amount)
    return ItemsUnavailable(order.order_id)
