"""What must hold between services, and between handlers and built dependencies."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any, Literal, Protocol

import pytest

from eventseam.app.ctx import Ctx
from eventseam.app.service import Service
from eventseam.app.tx import SyncTx
from eventseam.app.wiring import check_deps, check_services, foreign_channels
from eventseam.contracts.channel import Channel
from eventseam.errors import WiringError
from tests.unit.app.shop import OrderPlaced, PlaceOrder, ShelfEmptied, ShelfFilled


class HasPrinter(Protocol):
    @property
    def printer(self) -> str: ...


class HasBoth(HasPrinter, Protocol):
    gateway: str


@dataclass
class Deps:
    gateway: str = "g"


class Lazy:
    """Has a printer whose making would cost something."""

    gateway = "g"

    @property
    def printer(self) -> str:
        raise AssertionError


def one(name: str, **decorators: Any) -> Service[Any]:
    service: Service[Any] = Service(name)
    for verb, types in decorators.items():
        getattr(service, verb)(*types, name=f"{name}-{verb}")(lambda message: None)
    return service


def test_services_of_different_names_commands_and_internal_channels_fit_together():
    stock, orders = one("stock", on=[ShelfEmptied]), one("orders", handle=[PlaceOrder], on=[OrderPlaced])

    check_services([stock, orders, one("email", on=[OrderPlaced])])

    assert frozenset({"shelf"}) == foreign_channels([stock, orders], orders)
    assert frozenset() == foreign_channels([stock, orders], stock)


@pytest.mark.parametrize(
    "services, text",
    [
        ([one("orders"), one("orders")], "Two services are named 'orders'"),
        (
            [one("orders", handle=[PlaceOrder]), one("shop", handle=[PlaceOrder])],
            "Command 'order.place' has two handlers: ",
        ),
        (
            [one("stock", on=[ShelfEmptied]), one("orders", on=[ShelfFilled])],
            "Internal channel 'shelf' is used by 'stock' and by ",
        ),
    ],
)
def test_services_that_do_not_fit_together_are_refused(services: list[Service[Any]], text: str):
    with pytest.raises(WiringError) as caught:
        check_services(services)
    assert text in str(caught.value)


def test_a_channel_that_is_declared_twice_is_declared_alike():
    def reading(name: str, mode: Literal["structured", "binary"]) -> Service[Any]:
        channel = Channel("parcel", key="id", mode=mode)
        return one(name, on=[channel.event(f"parcel.{name}")(make_dataclass("Sent", [("id", str)]))])

    check_services([reading("one", "binary"), reading("two", "binary")])
    with pytest.raises(WiringError) as caught:
        check_services([reading("one", "binary"), reading("two", "structured")])
    assert "Channel('parcel') is declared twice, with mode='binary' and mode='structured'." in str(caught.value)


def test_plain_messages_are_of_a_type_that_their_channel_has():
    def reading(plain: str) -> Service[Any]:
        channel = Channel("parcel", key="id", plain=plain)
        sent = channel.event("parcel.sent", version=2)(make_dataclass("Sent", [("id", str)]))
        return one("post", on=[sent])

    check_services([reading("parcel.sent.v2")])
    with pytest.raises(WiringError) as caught:
        check_services([reading("parcel.sent")])
    text = str(caught.value)
    assert "Channel('parcel'): plain='parcel.sent' is no type of it; it has parcel.sent.v2. Name the one" in text


def asking(function: Any, *, tx: bool = False) -> Service[Any]:
    service: Service[Any] = Service("orders")
    (service.on_tx if tx else service.on)(OrderPlaced)(function)
    return service


def test_a_handler_that_asks_for_what_the_deps_lack_is_refused_with_both_ways_out():
    def reserve(event: OrderPlaced, ctx: Ctx[HasBoth]) -> None: ...

    with pytest.raises(WiringError) as caught:
        check_deps(asking(reserve), Deps())
    text = str(caught.value)
    assert "reserve() (" in text
    assert "needs Ctx[HasBoth]; Deps has no 'printer'. Add it to Deps, or narrow the handler." in text


def test_a_transaction_asks_in_the_same_way():
    def reserve(event: OrderPlaced, tx: SyncTx[HasPrinter]) -> None: ...

    with pytest.raises(WiringError, match=r"needs SyncTx\[HasPrinter\]; service 'orders' has no deps"):
        check_deps(asking(reserve, tx=True), None)


def _no_deps_asked(event: OrderPlaced, ctx: Ctx) -> None: ...


def _any_asked(event: OrderPlaced, ctx: Ctx[Any]) -> None: ...


def _no_ctx(event: OrderPlaced) -> None: ...


def _unresolvable(event: OrderPlaced, ctx: Ctx[Unheard]) -> None: ...  # noqa: F821


def _concrete(event: OrderPlaced, ctx: Ctx[Deps]) -> None: ...


@pytest.mark.parametrize("function", [_no_deps_asked, _any_asked, _no_ctx, _unresolvable, _concrete])
def test_a_handler_that_is_content_or_cannot_be_read_is_taken(function: Any):
    check_deps(asking(function), Deps())


def test_a_property_that_would_do_work_is_seen_without_running_it():
    def reserve(event: OrderPlaced, ctx: Ctx[HasBoth]) -> None: ...

    check_deps(asking(reserve), Lazy())
