"""What inventory says: the channel `items`, keyed by order."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from eventseam import Channel

items = Channel("items", key="order_id")


@items.event("items.reserved")
class ItemsReserved(Struct, frozen=True):
    """Every item of the order is set aside. `amount` is what its customer pays; None where no payment was offered."""

    order_id: str
    amount: Decimal | None


@items.event("items.unavailable")
class ItemsUnavailable(Struct, frozen=True):
    """The order cannot be had: it has no items, or the warehouse has not got them. Nothing is set aside."""

    order_id: str


@items.event("items.released")
class ItemsReleased(Struct, frozen=True):
    """What was set aside for the order is free again."""

    order_id: str
