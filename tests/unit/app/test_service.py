"""Declaring handlers: what can be told wrong from the code is refused there, with place and fix."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest

from eventseam.app.ctx import Ctx
from eventseam.app.service import Service
from eventseam.app.tx import SyncTx, Tx
from eventseam.delivery.circuit import Circuit
from eventseam.delivery.policy import Retry
from eventseam.errors import WiringError
from tests.unit.app.shop import (
    ConfirmOrder,
    OrderConfirmed,
    OrderPlaced,
    OrderPlacedV1,
    PlaceOrder,
    ShelfEmptied,
    handlers,
)


def refused(declare: Any) -> str:
    with pytest.raises(WiringError) as caught:
        declare()
    return str(caught.value)


@pytest.mark.parametrize("name", ["", "Orders", "1st", "a.b", "a b", "a" * 64, "ä", "a\n", "../x"])
def test_a_service_name_that_could_not_be_part_of_a_topic_is_refused(name: str):
    assert "a name is a small letter" in refused(lambda: Service(name))


def test_a_thread_pool_has_at_least_one_thread_and_a_bound():
    assert "threads_max=0 must be within 1 and 1000" in refused(lambda: Service("orders", threads_max=0))


def test_handlers_carry_name_mode_policies_and_every_version_they_take():
    orders = Service("orders")
    retry, circuit = Retry(attempts=3), Circuit(failures=9)

    @orders.on(OrderPlaced, OrderConfirmed, name="listen-2", retry=retry, circuit=circuit, timeout_seconds=3)
    async def listen(event: OrderPlaced | OrderConfirmed) -> None: ...

    @orders.handle_tx(PlaceOrder)
    def place(cmd: PlaceOrder, tx: SyncTx) -> None: ...

    built = handlers(orders)

    first, second = built["listen-2"], built["place"]
    assert ("orders", "record", retry, circuit, 3) == (
        first.service, first.mode, first.retry, first.circuit, first.timeout_seconds,
    )  # fmt: skip
    assert {"order.placed", "order.placed.v2", "order.confirmed"} == set(first.takes)
    assert OrderPlaced("o1", "") == first.decode("order.placed", b'{"order_id":"o1"}')
    assert ("tx", Retry(), 5.0) == (second.mode, second.retry, second.timeout_seconds)
    runs = [(h.run, h.run_blocking, h.run_tx, h.run_blocking_tx) for h in (first, second)]
    assert [[True, False, False, False], [False, False, False, True]] == [[bool(r) for r in four] for four in runs]


def test_a_decorated_handler_is_still_the_same_function_and_can_serve_two_services():
    orders, email = Service("orders"), Service("email")

    def listen(event: OrderPlaced) -> None: ...

    assert listen is orders.on(OrderPlaced)(email.on(OrderPlaced)(listen))
    assert ["listen"] == [each.name for each in email.declarations]


def test_the_message_types_of_a_service_are_those_of_its_handlers_once():
    orders = Service("orders")
    orders.on(OrderPlaced, OrderConfirmed, name="a")(lambda event: None)
    orders.on(OrderConfirmed, name="b")(lambda event: None)

    assert ["order.placed.v2", "order.confirmed"] == [known.wire for known in orders.message_types()]


def test_a_partial_and_a_callable_object_are_handlers_when_they_are_named():
    orders = Service("orders")

    class Listener:
        async def __call__(self, event: OrderPlaced, ctx: Ctx) -> None: ...

    def listen(channel: str, event: OrderPlaced) -> None: ...

    orders.on(OrderPlaced, name="object")(Listener())
    orders.on(OrderPlaced, name="partial")(functools.partial(listen, "x"))

    built = handlers(orders)
    assert built["object"].run
    assert built["partial"].run_blocking
    text = refused(lambda: orders.on(OrderPlaced)(Listener()))
    assert 'Pass name="..." to the decorator' in text


async def _with_tx(event: OrderPlaced, tx: Tx) -> None: ...


def _with_sync_tx(event: OrderPlaced, tx: SyncTx[Any]) -> None: ...


async def _async_with_sync_tx(event: OrderPlaced, tx: SyncTx) -> None: ...


def _def_with_tx(event: OrderPlaced, tx: Tx[Any]) -> None: ...


async def _with_ctx(event: OrderPlaced, ctx: Ctx) -> None: ...


async def _alone(event: OrderPlaced) -> None: ...


def _nothing() -> None: ...


def _three(event: OrderPlaced, ctx: Ctx, third: int) -> None: ...


def _keyword(event: OrderPlaced, *, needed: int) -> None: ...


def _yields(event: OrderPlaced) -> Any:
    yield 1


async def _yields_async(event: OrderPlaced) -> Any:
    yield 1


@pytest.mark.parametrize(
    "verb, function, text",
    [
        ("on", _nothing, "a handler takes the message, or the message and its context; 0 given"),
        ("on", _three, "a handler takes the message, or the message and its context; 3 given"),
        ("on", _keyword, "a handler takes the message, or the message and its context"),
        ("on", _yields, "it uses yield"),
        ("on", _yields_async, "it uses yield"),
        ("on", OrderPlaced, "a handler is a function"),
        ("on", _with_tx, "it asks for Tx but records with Ctx. Use on_tx()/handle_tx()"),
        ("on_tx", _def_with_tx, "a def gets SyncTx, not Tx. Annotate tx: SyncTx, or make it an async def"),
        ("on_tx", _async_with_sync_tx, "an async def gets Tx, not SyncTx. Annotate tx: Tx, or make it a def"),
        ("on_tx", _with_ctx, "it asks for Ctx but gets a transaction"),
        ("on_tx", _alone, "it must take (message, tx: Tx)"),
    ],
)
def test_a_function_that_cannot_be_this_handler_is_refused_with_its_place(verb: str, function: Any, text: str):
    orders = Service("orders")
    found = refused(lambda: getattr(orders, verb)(OrderPlaced)(function))

    assert f"@orders.{verb}(OrderPlaced) on {function.__name__}() ({function.__module__}" in found
    assert text in found
    assert () == orders.declarations


def test_annotations_as_classes_are_read_like_those_as_text():
    def typed(event: Any, tx: Any) -> None: ...

    typed.__annotations__ = {"event": OrderPlaced, "tx": Tx[int]}
    assert "a def gets SyncTx, not Tx" in refused(lambda: Service("orders").on_tx(OrderPlaced)(typed))


@pytest.mark.parametrize("function", [_with_tx, _with_sync_tx, lambda event, tx: None])
def test_a_handler_of_the_right_colour_or_without_annotations_is_taken(function: Any):
    orders = Service("orders")
    orders.on_tx(OrderPlaced, name="it")(function)
    assert ["it"] == [each.name for each in orders.declarations]


@pytest.mark.parametrize(
    "declare, text",
    [
        (lambda s: s.handle(OrderPlaced), "OrderPlaced is declared as event. Use on() or on_tx()"),
        (lambda s: s.on(PlaceOrder), "PlaceOrder is declared as command. Use handle() or handle_tx()"),
        (lambda s: s.on(int), "int is not declared on a channel"),
        (lambda s: s.on("order.placed"), "'order.placed' is not declared on a channel"),
        (lambda s: s.on(), "names no message type"),
        (lambda s: s.on(OrderPlaced, OrderPlaced), "names a type twice"),
        (lambda s: s.on(OrderPlaced, inline=True), "channel 'order' is public"),
        (lambda s: s.on(ShelfEmptied, inline=True, retry=Retry()), "retry cannot be kept"),
        (lambda s: s.on(OrderPlaced, timeout_seconds=0), "timeout_seconds=0 must be > 0"),
        (lambda s: s.on(OrderPlaced, timeout_seconds=math.nan), "timeout_seconds=nan must be > 0"),
        (lambda s: s.on(OrderPlaced, timeout_seconds=math.inf), "timeout_seconds=inf must be > 0 and at most 86400"),
        (lambda s: s.on(OrderPlaced, name="a/b"), "name='a/b' must be letters, digits"),
        (lambda s: s.on_batch(OrderPlaced, max=0), "max=0 must be >= 1"),
    ],
)
def test_a_decorator_that_makes_no_sense_is_refused_before_it_sees_a_function(declare: Any, text: str):
    assert text in refused(lambda: declare(Service("orders")))


def test_two_handlers_of_one_service_need_two_names():
    orders = Service("orders")

    def listen(event: OrderPlaced) -> None: ...

    orders.on(OrderPlaced)(listen)
    assert "Service 'orders' has two handlers named 'listen'" in refused(lambda: orders.on(OrderConfirmed)(listen))


def test_a_command_has_one_handler_in_its_service():
    orders = Service("orders")
    orders.handle(PlaceOrder, name="a")(lambda cmd: None)
    text = refused(lambda: orders.handle(PlaceOrder, name="b")(lambda cmd: None))
    assert "order.place has two handlers" in text
    assert "A command goes to exactly one" in text


def test_a_handler_of_an_old_version_is_refused_when_it_is_built():
    orders = Service("orders")
    orders.on(OrderPlacedV1, name="old")(lambda event: None)
    assert "Take OrderPlaced (order.placed.v2)" in refused(lambda: handlers(orders))


def test_a_command_may_be_told_from_another_by_its_class_alone():
    orders = Service("orders")
    orders.handle(PlaceOrder, name="a")(lambda cmd: None)
    orders.handle(ConfirmOrder, name="b")(lambda cmd: None)
    assert ["a", "b"] == [each.name for each in orders.declarations]
