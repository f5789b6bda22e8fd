"""What is said, and who listens: the services of the shop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from eventseam import App, Channel, Service, Settings, SyncTx
from examples.django_shop.models import Item, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

order = Channel("order", key="order_id")


@order.event("order.placed")
class OrderPlaced(Struct, frozen=True):
    """Somebody has ordered."""

    order_id: str
    sku: str
    pieces: int


@order.event("order.reserved")
class OrderReserved(Struct, frozen=True):
    """What was ordered is kept back."""

    order_id: str


orders = Service("orders")
stock = Service("stock")


@stock.on_tx(OrderPlaced)
def reserve(event: OrderPlaced, tx: SyncTx) -> None:
    """Take the pieces from the stock: models, state and event in one transaction, once per order."""
    with tx.django():
        item = Item.objects.select_for_update().get(sku=event.sku)
        item.left -= event.pieces
        item.save()
    tx.publish(OrderReserved(event.order_id))


@orders.on_tx(OrderReserved)
def note(event: OrderReserved, tx: SyncTx) -> None:
    """Show the customer that it is coming."""
    with tx.django():
        Order.objects.filter(id=event.order_id).update(state="reserved")


def create() -> App:
    """The app, on the database that Django uses too."""
    services: Sequence[Service] = (orders, stock)
    return App(*services, settings=Settings.from_env())
