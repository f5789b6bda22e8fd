"""What a handler records, and what its context tells it."""

from __future__ import annotations

import pytest

from eventseam.app.ctx import Ctx
from eventseam.app.handlers import Bench, record_of
from eventseam.app.service import Service
from eventseam.clock import Seams
from eventseam.errors import ContractError, EventseamError, NotYet, Refused
from tests.unit.app.shop import (
    T0,
    ConfirmOrder,
    FillShelf,
    OrderConfirmed,
    OrderPlaced,
    PlaceOrder,
    ShelfEmptied,
    handlers,
    incoming,
    run,
    run_batch,
    texts,
)


async def test_writes_messages_and_the_answer_come_in_the_order_in_which_they_were_recorded():
    orders = Service("orders")

    @orders.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> str:
        ctx.write("INSERT INTO orders (id) VALUES ($1)", cmd.order_id)
        ctx.publish(OrderPlaced(cmd.order_id, "a@b.c"))
        ctx.write("UPDATE totals SET n = n + 1")
        ctx.send(ConfirmOrder(cmd.order_id))
        return "done"

    record = await run(orders, PlaceOrder("o1"))

    assert [("INSERT INTO orders (id) VALUES ($1)", ("o1",)), ("UPDATE totals SET n = n + 1", ())] == record.writes
    assert ['order.placed.v2 {"order_id":"o1","email":"a@b.c"}', 'order.confirm {"order_id":"o1"}'] == texts(record)
    assert [("o1", None), ("o1", None)] == [(each.key, each.details) for each in record.messages]
    assert record.answer == "done"


async def test_a_def_records_as_an_async_def_does_and_may_leave_ctx_out():
    orders = Service("orders")
    seen: list[PlaceOrder] = []

    @orders.handle(PlaceOrder)
    def place(cmd: PlaceOrder) -> int:
        seen.append(cmd)
        return 3

    record = await run(orders, PlaceOrder("o1"))

    assert [PlaceOrder("o1")] == seen
    assert ([], [], 3) == (record.writes, record.messages, record.answer)


async def test_an_event_that_is_changed_after_its_publication_was_published_as_it_was():
    orders = Service("orders")

    @orders.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        event = OrderPlaced(cmd.order_id, "before")
        ctx.publish(event)
        event.email = "after"

    assert ['order.placed.v2 {"order_id":"o1","email":"before"}'] == texts(await run(orders, PlaceOrder("o1")))


async def test_a_notification_carries_the_link_to_its_details():
    orders = Service("orders")

    @orders.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(OrderConfirmed("o 1"))

    record = await run(orders, PlaceOrder("o1"))
    assert ["/orders/o%201"] == [each.details for each in record.messages]


async def test_ctx_tells_everything_about_the_attempt():
    orders = Service("orders")
    told: dict[str, object] = {}

    @orders.on(OrderPlaced)
    async def listen(event: OrderPlaced, ctx: Ctx[str]) -> None:
        told.update(
            key=ctx.idempotency_key, attempt=ctx.attempt, id=ctx.envelope.id, sequence=ctx.sequence,
            now=ctx.now(), new_id=ctx.new_id(), stop=ctx.should_stop(), deps=ctx.deps,
        )  # fmt: skip

    await run_batch(orders, [incoming(OrderPlaced("o1"), attempt=3)], deps="the deps")

    expected = {"key": "orders/listen/m1", "attempt": 3, "id": "m1", "sequence": 7, "now": T0, "new_id": "id-1"}
    assert {**expected, "stop": False, "deps": "the deps"} == told


async def test_the_idempotency_key_of_a_batch_stands_for_exactly_its_messages():
    orders = Service("orders")
    keys: list[str] = []

    @orders.on_batch(OrderPlaced)
    async def ingest(events: list[OrderPlaced], ctx: Ctx) -> None:
        keys.append(ctx.idempotency_key)

    one, two = incoming(OrderPlaced("o1"), id="m1"), incoming(OrderPlaced("o2"), id="m2")
    for batch in ([one, two], [one, two], [two, one], [one]):
        await run_batch(orders, batch)

    assert keys[0] == keys[1]
    assert 3 == len(set(keys))
    assert "orders/ingest/m1" == keys[3]


async def test_a_batch_handler_gets_all_messages_as_a_list_in_either_colour():
    orders = Service("orders")
    got: list[list[OrderPlaced]] = []

    @orders.on_batch(OrderPlaced, max=10, name="async-one")
    async def ingest(events: list[OrderPlaced]) -> None:
        got.append(events)

    @orders.on_batch(OrderPlaced)
    def ingest_blocking(events: list[OrderPlaced]) -> None:
        got.append(events)

    built = handlers(orders)
    batch = [incoming(OrderPlaced("o1")), incoming(OrderPlaced("o2"))]
    assert built["async-one"].run
    assert built["ingest_blocking"].run_blocking
    await built["async-one"].run(batch)
    built["ingest_blocking"].run_blocking(batch)

    assert [[OrderPlaced("o1"), OrderPlaced("o2")]] * 2 == got
    assert (10, 500) == (built["async-one"].batch_max, built["ingest_blocking"].batch_max)


@pytest.mark.parametrize(
    "verb, message, text",
    [
        ("publish", ConfirmOrder("o1"), "publish() takes events; ConfirmOrder (order.confirm) is declared as command"),
        ("send", OrderConfirmed("o1"), "send() takes commands; OrderConfirmed (order.confirmed) is declared as event"),
        ("publish", "text", "str is not a declared message"),
        ("send", FillShelf("s1"), "Add @orders.handle(FillShelf)"),
    ],
)
async def test_what_cannot_be_said_is_refused_where_it_is_said_with_the_fix(verb: str, message: object, text: str):
    orders = Service("orders")

    @orders.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        getattr(ctx, verb)(message)

    with pytest.raises(ContractError) as caught:
        await run(orders, PlaceOrder("o1"))
    assert text in str(caught.value)


async def test_an_internal_event_of_another_service_is_refused():
    bench = Bench(Service("orders"), Seams(), None, frozenset({"shelf"}))

    with pytest.raises(ContractError, match="internal channel 'shelf' of another service than 'orders'"):
        bench.publisher.event(ShelfEmptied("s1"))


async def test_a_task_left_behind_cannot_lose_what_it_publishes_in_silence():
    orders = Service("orders")
    kept: list[Ctx] = []

    @orders.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        kept.append(ctx)

    record = await run(orders, PlaceOrder("o1"))

    for use in (lambda: kept[0].publish(OrderPlaced("o1")), lambda: kept[0].write("DELETE FROM orders")):
        with pytest.raises(EventseamError, match="used after its handler had returned"):
            use()
    assert ([], []) == (record.writes, record.messages)


@pytest.mark.parametrize("error", [Refused(OrderConfirmed("o1")), NotYet("its order"), ValueError("a bug")])
async def test_what_a_handler_raises_reaches_the_engine_as_it_is(error: Exception):
    orders = Service("orders")

    @orders.handle(PlaceOrder)
    async def place(cmd: PlaceOrder, ctx: Ctx) -> None:
        ctx.publish(OrderPlaced("o1"))
        raise error

    with pytest.raises(type(error)) as caught:
        await run(orders, PlaceOrder("o1"))
    assert error is caught.value


def test_a_refusal_is_a_record_of_its_event_alone():
    record = record_of(OrderConfirmed("o1"))

    assert ([], ['order.confirmed {"order_id":"o1"}'], None) == (record.writes, texts(record), record.answer)


async def _later() -> str:
    return "late"


def _generate():
    yield 1


async def _generate_async():
    yield 1


@pytest.mark.parametrize("garbage", [_later, _generate, _generate_async])
async def test_unfinished_work_is_no_answer(garbage):
    orders = Service("orders")

    @orders.handle(PlaceOrder)
    def place(cmd: PlaceOrder) -> object:
        return garbage()

    with pytest.raises(EventseamError, match=r"place\(\) \(.*test_ctx:\d+\) returned a .*: its work was never done"):
        await run(orders, PlaceOrder("o1"))


async def test_an_event_handler_that_returns_something_fails_because_nobody_would_get_it():
    orders = Service("orders")

    @orders.on(OrderPlaced)  # type: ignore[type-var]
    async def listen(event: OrderPlaced) -> str:
        return "hello"

    with pytest.raises(EventseamError, match="returned a str, but nobody awaits an answer to an event"):
        await run(orders, OrderPlaced("o1"))
