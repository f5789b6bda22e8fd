"""Messages, seams and a real database for tests of services: no engine, the handlers' closures are run directly."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from eventseam.app.handlers import Bench
from eventseam.app.service import Service
from eventseam.clock import Seams
from eventseam.contracts.channel import Channel
from eventseam.contracts.envelope import Envelope
from eventseam.contracts.message import message_type
from eventseam.contracts.registry import Registry
from eventseam.contracts.upcast import upcast
from eventseam.delivery.handler import Handler, Incoming, Record
from eventseam.ports.sql import Row

order = Channel("order", key="order_id")
shelf = Channel("shelf", key="sku", internal=True)
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@order.command("order.place")
class PlaceOrder(Struct, frozen=True):
    order_id: str


@order.command("order.confirm")
class ConfirmOrder(Struct, frozen=True):
    order_id: str


@order.event("order.placed")
class OrderPlacedV1(Struct, frozen=True):
    order_id: str


@order.event("order.placed", version=2)
@dataclass
class OrderPlaced:
    order_id: str
    email: str = ""


@order.event("order.confirmed", details="/orders/{order_id}")
class OrderConfirmed(Struct, frozen=True):
    order_id: str


@shelf.event("shelf.emptied")
class ShelfEmptied(Struct, frozen=True):
    sku: str


@shelf.event("shelf.filled")
class ShelfFilled(Struct, frozen=True):
    sku: str


@shelf.command("shelf.fill")
class FillShelf(Struct, frozen=True):
    sku: str


@upcast(OrderPlacedV1, OrderPlaced)
def placed_v2(old: OrderPlacedV1) -> OrderPlaced:
    return OrderPlaced(old.order_id)


class FrozenClock:
    def now(self) -> datetime:
        return T0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class CountingIds:
    def __init__(self) -> None:
        self.count = 0

    def new(self) -> str:
        self.count += 1
        return f"id-{self.count}"


def incoming(message: object, *, id: str = "m1", attempt: int = 1, sequence: int = 7) -> Incoming:  # noqa: A002
    known = message_type(type(message))
    envelope = Envelope(
        id=id,
        type=known.wire,
        source="test",
        channel=known.channel.name,
        key=known.key_of(message),
        time=T0,
        correlation_id="flow",
        sequence=sequence,
    )
    return Incoming(message, envelope, attempt)


def handlers(service: Service[Any], deps: object = None) -> dict[str, Handler]:
    registry = Registry(service.message_types())
    seams = Seams(clock=FrozenClock(), ids=CountingIds())
    return {each.name: each for each in Bench(service, seams, deps).handlers(registry)}


async def run(service: Service[Any], message: object, **options: Any) -> Record:
    """Run the service's first handler with one message, in whatever form it has."""
    return await run_batch(service, [incoming(message, **options)])


async def run_batch(service: Service[Any], batch: Sequence[Incoming], deps: object = None) -> Record:
    handler = next(iter(handlers(service, deps).values()))
    if handler.run is not None:
        return await handler.run(batch)
    assert handler.run_blocking is not None
    return handler.run_blocking(batch)


def texts(record: Record) -> list[str]:
    return [f"{each.type.wire} {each.body.decode()}" for each in record.messages]


class BlockingSql:
    """SQLite in memory behind the Sql port; it never suspends."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.row_factory = sqlite3.Row
        self.connection.execute("CREATE TABLE stock (sku TEXT PRIMARY KEY, free INTEGER)")

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        return self._execute(statement, args).fetchall()

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        for each in args:
            self._execute(statement, each)

    async def changed(self, statement: str, *args: object) -> int:
        return self._execute(statement, args).rowcount

    def _execute(self, statement: str, args: Sequence[object]) -> sqlite3.Cursor:
        return self.connection.execute(statement, {str(n): value for n, value in enumerate(args, 1)})


class SuspendingSql(BlockingSql):
    """The same, but each statement yields to the loop, as over a network."""

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        await asyncio.sleep(0)
        return await super().rows(statement, *args)

    async def changed(self, statement: str, *args: object) -> int:
        await asyncio.sleep(0)
        return await super().changed(statement, *args)


def finished(operation: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(operation)
