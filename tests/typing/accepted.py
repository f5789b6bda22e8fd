"""Right uses: mypy strict and pyright strict accept every line, and infer what assert_type says. Never run."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar, assert_type

from eventseam.app.app import App
from eventseam.app.ctx import Ctx
from eventseam.app.service import Service
from eventseam.app.tx import SyncTx, Tx
from eventseam.delivery.circuit import Circuit
from eventseam.delivery.policy import Retry
from eventseam.ports.sql import Row

from .shop import (
    ConfirmOrder,
    HasGateway,
    OrderConfirmed,
    OrderPlaced,
    OrderRejected,
    OrderShipped,
    PaymentDeps,
    PlaceOrder,
    ShelfEmptied,
    orders,
    payments,
)

assert_type(orders, Service[object])
assert_type(payments, Service[PaymentDeps])


@orders.handle(PlaceOrder)
async def place(cmd: PlaceOrder, ctx: Ctx) -> str:
    """An async def that answers."""
    ctx.write("INSERT INTO orders (id) VALUES ($1)", cmd.order_id)
    ctx.publish(OrderPlaced(cmd.order_id, ""))
    assert_type(ctx.deps, object)
    return cmd.order_id


@orders.handle(ConfirmOrder, retry=Retry(attempts=3), circuit=Circuit(failures=9), timeout_seconds=3, name="confirm")
def confirm(cmd: ConfirmOrder, ctx: Ctx) -> int:
    """A def that answers, with every policy."""
    ctx.publish(OrderConfirmed(cmd.order_id))
    return 1


@payments.handle(PlaceOrder)
async def charge(cmd: PlaceOrder, ctx: Ctx[PaymentDeps]) -> None:
    """All dependencies."""
    await ctx.deps.gateway.charge(cmd.order_id, idempotency_key=ctx.idempotency_key)


@payments.on(OrderPlaced)
async def charge_narrow(event: OrderPlaced, ctx: Ctx[HasGateway]) -> None:
    """Only the part that is needed."""
    await ctx.deps.gateway.charge(event.order_id, idempotency_key=ctx.idempotency_key)


@payments.on(OrderConfirmed)
async def no_deps_asked(event: OrderConfirmed, ctx: Ctx) -> None:
    """No dependency, in a service that has some."""
    ctx.send(ConfirmOrder(event.order_id))


@payments.on(OrderPlaced, name="also")
@orders.on(OrderPlaced)
def stacked(event: OrderPlaced) -> None:
    """One function for two services, without ctx."""


@orders.on(OrderPlaced, OrderConfirmed)
async def two(event: OrderPlaced | OrderConfirmed) -> None:
    """Two events."""


@orders.on(OrderPlaced, OrderConfirmed, OrderRejected)
def three(event: OrderPlaced | OrderConfirmed | OrderRejected, ctx: Ctx) -> None:
    """Three events."""


@orders.on(OrderPlaced, OrderConfirmed, OrderRejected, OrderShipped)
def four(event: OrderPlaced | OrderConfirmed | OrderRejected | OrderShipped, ctx: Ctx) -> None:
    """Four events: not compared any more, but accepted."""


@orders.on(ShelfEmptied, inline=True)
async def refill(event: ShelfEmptied, ctx: Ctx) -> None:
    """Within the publisher's record."""


@orders.on_batch(OrderPlaced, max=50)
async def ingest(events: list[OrderPlaced], ctx: Ctx) -> None:
    """A batch."""


@orders.on_batch(OrderConfirmed)
def ingest_sequence(events: Sequence[OrderConfirmed]) -> None:
    """A batch for a function that asks for less than a list."""


@payments.on_tx(OrderPlaced, OrderConfirmed)
async def progress(event: OrderPlaced | OrderConfirmed, tx: Tx[HasGateway]) -> None:
    """Reads and locks."""
    assert_type(await tx.execute("UPDATE facts SET steps = steps + 1 WHERE order_id = $1", event.order_id), int)
    assert_type(await tx.fetch_one("SELECT 1"), Row | None)


@payments.on_tx(OrderPlaced)
def progress_blocking(event: OrderPlaced, tx: SyncTx) -> None:
    """The same in a thread."""
    row = tx.fetch_one("SELECT free FROM stock WHERE sku = $1", event.order_id)
    if row is not None and row["free"] == row[0]:
        tx.publish(OrderConfirmed(event.order_id))


@orders.handle_tx(PlaceOrder)
async def place_tx(cmd: PlaceOrder, tx: Tx) -> str:
    """A command with an answer, in a transaction."""
    assert_type(await tx.fetch_all("SELECT 1"), Sequence[Row])
    return cmd.order_id


@orders.handle_tx(ConfirmOrder)
def confirm_tx(cmd: ConfirmOrder, tx: SyncTx) -> None:
    """A command in a transaction, in a thread."""


P = ParamSpec("P")
T = TypeVar("T")


def timed(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """A decorator of the user's own, on top."""

    @functools.wraps(function)
    async def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        return await function(*args, **kwargs)

    return inner


async def called(app: App, ctx: Ctx) -> None:
    """The answer's type comes from the handler; a decorated handler is still a function."""
    assert_type(await app.call(place, PlaceOrder("1")), str)
    assert_type(await app.call(place_tx, PlaceOrder("1")), str)
    assert_type(await app.call(confirm, ConfirmOrder("1")), int)
    await app.call(charge, PlaceOrder("1"))
    await app.call(confirm_tx, ConfirmOrder("1"))
    assert_type(await place(PlaceOrder("1"), ctx), str)
    assert_type(await timed(place)(PlaceOrder("1"), ctx), str)


async def transacted(app: App) -> None:
    """A transaction outside a handler knows its service's dependencies."""
    async with app.transaction(payments) as tx:
        assert_type(tx, Tx[PaymentDeps])
        tx.publish(OrderConfirmed("1"))
