"""A shop whose tables are SQLAlchemy's: models, commands, and an app on either database."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct
from sqlalchemy import JSON, ForeignKey, Numeric, String, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.schema import CreateTable

from eventseam import App, Channel, Service, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MADE_AT = datetime(2026, 3, 1, 12, 30)  # noqa: DTZ001 - a column without a time zone
CHANGED_AT = datetime(2026, 3, 2, 12, 30)  # noqa: DTZ001 - as above

order = Channel("order", key="order_id")


@order.command("order.place")
class PlaceOrder(Struct, frozen=True):
    order_id: str
    email: str = "ann@shop.example"


@order.event("order.placed")
class OrderPlaced(Struct, frozen=True):
    order_id: str


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column("e_mail")
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("9.90"))
    token: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    note: Mapped[str | None]
    label: Mapped[str] = mapped_column(default=lambda context: f"of {context.get_current_parameters()['id']}")
    made_at: Mapped[datetime] = mapped_column(default=lambda: MADE_AT, onupdate=lambda: CHANGED_AT)
    status: Mapped[str] = mapped_column(String, server_default="new")
    lines: Mapped[list[Line]] = relationship(back_populates="order")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"))
    details: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    order: Mapped[Order] = relationship(back_populates="lines")


class Person(Base):
    __tablename__ = "people"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "person", "version_id_col": version}


class Clerk(Person):
    __tablename__ = "clerks"
    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), primary_key=True)
    desk: Mapped[int]
    __mapper_args__: ClassVar = {"polymorphic_identity": "clerk"}


class Shelf(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    free: Mapped[int] = mapped_column(default=func.abs(-3))


class Rack(Shelf):
    __tablename__ = "racks"
    id: Mapped[int] = mapped_column(ForeignKey("shelves.id"), primary_key=True)


def tables(url: str) -> str:
    """The models' tables as a script for the database."""
    dialect = sqlite.dialect() if url.startswith("sqlite") else postgresql.dialect()
    made = [CreateTable(table, if_not_exists=True) for table in Base.metadata.sorted_tables]
    return ";\n".join(str(each.compile(dialect=dialect)) for each in made)


def shop(url: str) -> Service[Any]:
    """A service with the models' tables."""
    return Service("shop", tables=tables(url))


@asynccontextmanager
async def running(url: str, service: Service[Any]) -> AsyncIterator[App]:
    """An app of one service that runs inside the block."""
    settings = Settings(database=url, durability="normal", lease_seconds=2.0, grace_seconds=2.0)
    app = App(service, settings=settings)
    async with app.running():
        yield app


async def rows(app: App, service: Service[Any], statement: str) -> list[tuple[Any, ...]]:
    """What is committed."""
    async with app.transaction(service) as tx:
        found: Sequence[Any] = await tx.fetch_all(statement)
    return [tuple(each) for each in found]


async def published(app: App, service: Service[Any]) -> list[str]:
    """The types of what lies in the journal, in order."""
    return [row[0] for row in await rows(app, service, "SELECT event_type FROM event_outbox ORDER BY id")]
