"""A service whose users publish on their own connections, its table, and what lies in its database afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventseam import Channel, Limit, Seams, Service, Settings
from eventseam.app.stores import open_store
from tests.support import file, postgres

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

order = Channel("order", key="order_id")
few = Channel("few", key="order_id", limit=Limit(pending_max=3))


@order.event("order.placed")
class OrderPlaced(Struct, frozen=True):
    order_id: str
    note: str = ""


@few.event("few.asked")
class Asked(Struct, frozen=True):
    order_id: str


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int]


TABLES = "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, total BIGINT NOT NULL)"
orders = Service("orders", tables=TABLES)


def prepare(url: str) -> None:
    """What a first start of the app does to a database."""

    async def migrate() -> None:
        store = open_store(Settings(database=url), Seams())
        await store.migrate([TABLES])
        await store.write(lambda sql: sql.many("new_position", [("orders", slot) for slot in range(store.slots)]))
        await store.close()

    asyncio.run(migrate())


def query(url: str, statement: str) -> Sequence[tuple[Any, ...]]:
    """All rows of one statement on another connection."""
    if url.startswith("sqlite"):
        return file.query(path_of(url), statement)
    return postgres.query(url, statement)


def path_of(url: str) -> Path:
    from pathlib import Path

    return Path(url.removeprefix("sqlite:///"))


def published(url: str) -> list[str]:
    """The keys in the journal, in its order."""
    place = "id" if url.startswith("sqlite") else "position"
    return [row[0] for row in query(url, f"SELECT aggregate_id FROM event_outbox ORDER BY {place}")]


def placed(url: str) -> list[str]:
    """The user's own rows."""
    return [row[0] for row in query(url, "SELECT id FROM orders ORDER BY id")]
