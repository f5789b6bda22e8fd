"""Inline handlers: within their publisher's record, in order, bounded."""

from __future__ import annotations

import asyncio

import pytest

from eventseam.app.ctx import Ctx
from eventseam.app.service import Service
from eventseam.app.tx import SyncTx, Tx
from eventseam.errors import EventseamError, Refused
from tests.unit.app.shop import (
    BlockingSql,
    OrderConfirmed,
    PlaceOrder,
    ShelfEmptied,
    ShelfFilled,
    SuspendingSql,
    handlers,
    incoming,
    run,
    texts,
)


async def test_an_inline_handler_records_into_its_publishers_record_after_the_publisher_returned():
    stock = Service("stock")

    @stock.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> str:
        ctx.publish(ShelfEmptied("s1"))
        ctx.write("first")
        return "answer"

    @stock.on(ShelfEmptied, inline=True)
    async def refill(event: ShelfEmptied, ctx: Ctx) -> None:
        ctx.write("second", event.sku)
        ctx.publish(ShelfFilled(event.sku))

    record = await run(stock, PlaceOrder("o1"))

    assert [("first", ()), ("second", ("s1",))] == record.writes
    assert ['shelf.emptied {"sku":"s1"}', 'shelf.filled {"sku":"s1"}'] == texts(record)
    assert "answer" == record.answer
    assert ["place"] == list(handlers(stock))


async def test_inline_handlers_run_breadth_first_in_the_order_of_the_events_then_of_the_code():
    stock = Service("stock")
    ran: list[str] = []

    @stock.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(ShelfEmptied("a"))
        ctx.publish(ShelfEmptied("b"))

    @stock.on(ShelfEmptied, inline=True)
    async def one(event: ShelfEmptied, ctx: Ctx) -> None:
        ran.append(f"one {event.sku}")
        ctx.publish(ShelfFilled(event.sku))

    @stock.on(ShelfEmptied, ShelfFilled, inline=True)
    def two(event: ShelfEmptied | ShelfFilled) -> None:
        ran.append(f"two {event.sku} {type(event).__name__}")

    await run(stock, PlaceOrder("o1"))

    emptied = ["one a", "two a ShelfEmptied", "one b", "two b ShelfEmptied"]
    assert [*emptied, "two a ShelfFilled", "two b ShelfFilled"] == ran


async def test_each_inline_event_has_an_idempotency_key_of_its_own_that_is_the_same_at_every_attempt():
    stock = Service("stock")
    keys: list[str] = []

    @stock.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(ShelfEmptied("a"))
        ctx.publish(ShelfEmptied("b"))

    @stock.on(ShelfEmptied, inline=True)
    async def refill(event: ShelfEmptied, ctx: Ctx) -> None:
        keys.append(ctx.idempotency_key)

    await run(stock, PlaceOrder("o1"))
    await run(stock, PlaceOrder("o1"), attempt=2)

    assert ["stock/refill/m1/1", "stock/refill/m1/2"] * 2 == keys


async def test_a_loop_of_inline_events_ends_with_an_error_that_names_it():
    stock = Service("stock")

    @stock.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(ShelfEmptied("a"))

    @stock.on(ShelfEmptied, inline=True)
    async def refill(event: ShelfEmptied, ctx: Ctx) -> None:
        ctx.publish(ShelfFilled(event.sku))

    @stock.on(ShelfFilled, inline=True)
    async def sell(event: ShelfFilled, ctx: Ctx) -> None:
        ctx.publish(ShelfEmptied(event.sku))

    with pytest.raises(EventseamError) as caught:
        await run(stock, PlaceOrder("o1"))
    assert "more than 1,000 inline events: " in str(caught.value)
    assert "shelf.emptied -> refill" in str(caught.value)
    assert "shelf.filled -> sell" in str(caught.value)


async def test_what_an_inline_handler_raises_fails_or_refuses_the_whole_record():
    stock = Service("stock")

    @stock.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(ShelfEmptied("a"))

    @stock.on(ShelfEmptied, inline=True)
    async def refill(event: ShelfEmptied) -> None:
        raise Refused(OrderConfirmed("o1"))

    with pytest.raises(Refused):
        await run(stock, PlaceOrder("o1"))


async def test_a_def_publishes_to_inline_handlers_of_both_colours_in_its_own_thread():
    stock = Service("stock")

    @stock.handle(PlaceOrder)
    def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(ShelfEmptied("a"))

    @stock.on(ShelfEmptied, inline=True)
    async def refill(event: ShelfEmptied, ctx: Ctx) -> None:
        ctx.write("async")

    @stock.on(ShelfEmptied, inline=True)
    def count(event: ShelfEmptied, ctx: Ctx) -> None:
        ctx.write("def")

    assert [("async", ()), ("def", ())] == (await run(stock, PlaceOrder("o1"))).writes


async def test_a_def_cannot_publish_to_an_inline_handler_that_has_to_wait():
    stock = Service("stock")

    @stock.handle(PlaceOrder)
    def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(ShelfEmptied("a"))

    @stock.on(ShelfEmptied, inline=True)
    async def refill(event: ShelfEmptied) -> None:
        await asyncio.sleep(0)

    with pytest.raises(EventseamError, match=r"Make the inline handler a def, or its publisher an async def"):
        await run(stock, PlaceOrder("o1"))


async def test_writes_of_an_inline_handler_go_through_its_publishers_transaction():
    stock = Service("stock")

    @stock.handle_tx(PlaceOrder)
    async def place(cmd: PlaceOrder, tx: Tx) -> int:
        await tx.execute("INSERT INTO stock VALUES ($1, $2)", "a", 1)
        tx.publish(ShelfEmptied("a"))
        return 5

    @stock.on(ShelfEmptied, inline=True)
    async def refill(event: ShelfEmptied, ctx: Ctx) -> None:
        await asyncio.sleep(0)
        ctx.write("UPDATE stock SET free = free + $2 WHERE sku = $1", event.sku, 8)

    sql = SuspendingSql()
    run_tx = handlers(stock)["place"].run_tx
    assert run_tx
    record = await run_tx([incoming(PlaceOrder("o1"))], sql)

    assert [("a", 9)] == [tuple(row) for row in sql.connection.execute("SELECT * FROM stock")]
    assert ([], ['shelf.emptied {"sku":"a"}'], 5) == (record.writes, texts(record), record.answer)


def test_the_same_holds_for_the_transaction_of_a_def():
    stock = Service("stock")

    @stock.handle_tx(PlaceOrder)
    def place(cmd: PlaceOrder, tx: SyncTx) -> None:
        tx.publish(ShelfEmptied("a"))

    @stock.on(ShelfEmptied, inline=True)
    def refill(event: ShelfEmptied, ctx: Ctx) -> None:
        ctx.write("INSERT INTO stock VALUES ($1, $2)", event.sku, 8)

    sql = BlockingSql()
    run_tx = handlers(stock)["place"].run_blocking_tx
    assert run_tx
    record = run_tx([incoming(PlaceOrder("o1"))], sql)

    assert [("a", 8)] == [tuple(row) for row in sql.connection.execute("SELECT * FROM stock")]
    assert ([], ['shelf.emptied {"sku":"a"}']) == (record.writes, texts(record))
