"""The one service of the PostgreSQL cases, in each form in which a handler can be written.

Every form writes the same three rows per message: the inbox, a receipt, and the event that tells of it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, cast

from sqlalchemy import Numeric, Table, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.contracts import OrderPlaced, ReceiptMade
from eventseam import Ctx, Service, SyncTx, Tx

Form = Literal["sql", "core", "core constant", "orm", "def", "tx", "tx def"]

TABLES = (
    "CREATE TABLE IF NOT EXISTS receipts (order_id text PRIMARY KEY, customer text NOT NULL, total numeric NOT NULL);"
)
WRITE = "INSERT INTO receipts (order_id, customer, total) VALUES ($1, $2, $3)"


class Base(DeclarativeBase):
    pass


class Receipt(Base):
    __tablename__ = "receipts"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[Decimal] = mapped_column(Numeric)


RECEIPTS = cast("Table", Receipt.__table__)
INSERT = insert(Receipt)


def recorded(form: Form) -> Service[object]:
    """The service `receipts` with its handler `make` in one form."""
    service: Service[object] = Service("receipts", tables=TABLES)
    _FORMS[form](service)
    return service


def _sql(service: Service[object]) -> None:
    @service.on(OrderPlaced)
    async def make(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.write(WRITE, event.order_id, event.customer, event.total)
        ctx.publish(ReceiptMade(event.order_id, event.total))


def _core(service: Service[object]) -> None:
    @service.on(OrderPlaced)
    async def make(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.write(insert(RECEIPTS).values(order_id=event.order_id, customer=event.customer, total=event.total))
        ctx.publish(ReceiptMade(event.order_id, event.total))


def _core_constant(service: Service[object]) -> None:
    @service.on(OrderPlaced)
    async def make(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.write(INSERT, {"order_id": event.order_id, "customer": event.customer, "total": event.total})
        ctx.publish(ReceiptMade(event.order_id, event.total))


def _orm(service: Service[object]) -> None:
    @service.on(OrderPlaced)
    async def make(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.add(Receipt(order_id=event.order_id, customer=event.customer, total=event.total))
        ctx.publish(ReceiptMade(event.order_id, event.total))


def _def(service: Service[object]) -> None:
    @service.on(OrderPlaced)
    def make(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.write(WRITE, event.order_id, event.customer, event.total)
        ctx.publish(ReceiptMade(event.order_id, event.total))


def _tx(service: Service[object]) -> None:
    @service.on_tx(OrderPlaced)
    async def make(event: OrderPlaced, tx: Tx) -> None:
        await tx.execute(WRITE, event.order_id, event.customer, event.total)
        tx.publish(ReceiptMade(event.order_id, event.total))


def _tx_def(service: Service[object]) -> None:
    @service.on_tx(OrderPlaced)
    def make(event: OrderPlaced, tx: SyncTx) -> None:
        tx.execute(WRITE, event.order_id, event.customer, event.total)
        tx.publish(ReceiptMade(event.order_id, event.total))


_FORMS = {
    "sql": _sql, "core": _core, "core constant": _core_constant, "orm": _orm, "def": _def, "tx": _tx, "tx def": _tx_def,
}  # fmt: skip
