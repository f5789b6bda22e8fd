"""What the shop is made of: tables, an event, a service that publishes it and one that reacts to it."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventseam import App, Channel, Ctx, Service, Settings


class Base(DeclarativeBase):
    """The classes below."""


class Order(Base):
    """An order, as the web side writes it."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    sku: Mapped[str]
    pieces: Mapped[int]


class Reservation(Base):
    """What is kept back for an order, as the stock service writes it."""

    __tablename__ = "reservations"
    order_id: Mapped[str] = mapped_column(primary_key=True)
    sku: Mapped[str]
    pieces: Mapped[int]


order = Channel("order", key="order_id")


@order.event("order.placed")
class OrderPlaced(Struct, frozen=True):
    """Somebody has ordered."""

    order_id: str
    sku: str
    pieces: int


orders = Service(
    "orders",
    tables="CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, sku TEXT NOT NULL, pieces INTEGER NOT NULL)",
)
stock = Service(
    "stock",
    tables="""
        CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, sku TEXT NOT NULL, pieces INTEGER NOT NULL)
    """,
)


@stock.on(OrderPlaced)
async def reserve(event: OrderPlaced, ctx: Ctx) -> None:
    """Keep back what was ordered: once per order, whatever is delivered twice."""
    ctx.add(Reservation(order_id=event.order_id, sku=event.sku, pieces=event.pieces))


def create() -> App:
    """The app, on the database of EVENTSEAM_DATABASE."""
    return App(orders, stock, settings=Settings.from_env())
