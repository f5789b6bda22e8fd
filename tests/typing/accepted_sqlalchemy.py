"""Right uses of SQLAlchemy and Django in handlers: accepted by both checkers. Never run."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy import Column, Integer, MetaData, Table, bindparam, delete, insert, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventseam.app.ctx import Ctx
from eventseam.app.tx import SyncTx, Tx

from .shop import ConfirmOrder, OrderPlaced, PlaceOrder, orders


class Base(DeclarativeBase):
    """Of the models."""


class Order(Base):
    """A model."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)


shelves = Table("shelves", MetaData(), Column("sku", Integer))

INSERT = insert(Order)


@orders.handle(PlaceOrder, name="place_recorded")
async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
    """Text, statements with values inside or beside them, objects."""
    ctx.write("INSERT INTO orders (id) VALUES ($1)", cmd.order_id)
    ctx.write(INSERT, {"id": cmd.order_id})
    ctx.write(INSERT, {"id": "1"}, {"id": "2"})
    ctx.write(insert(shelves).values(sku=1))
    ctx.write(update(Order).where(Order.id == bindparam("which")).values(id="2"), {"which": "1"})
    ctx.write(delete(Order).where(Order.id == "1"))
    ctx.write(text("DELETE FROM orders WHERE id = :id"), {"id": "1"})
    ctx.add(Order(id=cmd.order_id))


@orders.handle_tx(ConfirmOrder, name="confirm_session")
async def confirm(cmd: ConfirmOrder, tx: Tx) -> None:
    """A session on the loop."""
    assert_type(tx.session, AsyncSession)
    assert_type(await tx.session.get(Order, cmd.order_id), Order | None)


@orders.on_tx(OrderPlaced, name="placed_session")
def placed(event: OrderPlaced, tx: SyncTx) -> None:
    """A session in a thread, and Django."""
    assert_type(tx.session, Session)
    assert_type(tx.session.get(Order, event.order_id), Order | None)
    with tx.django(), tx.django("warehouse"):
        pass
