"""What each service decides, as pure functions that both shops share."""

from __future__ import annotations

from decimal import Decimal

from eventseam.demo.shop.inventory.contracts import ItemsReserved, ItemsUnavailable
from eventseam.demo.shop.inventory.rules import decide as decide_items
from eventseam.demo.shop.orders.contracts import Line, OrderPlaced, PlaceOrder
from eventseam.demo.shop.orders.rules import placed
from eventseam.demo.shop.payments.contracts import PaymentFailed, PaymentSucceeded
from eventseam.demo.shop.payments.rules import decide as decide_payment

LINES = (Line("p1", Decimal("10.50")),)


def place(lines=LINES, payments=(Decimal("0.1"), Decimal("0.2"))):
    return PlaceOrder("o1", "c1", "SP", lines, payments)


def test_the_amount_is_the_exact_sum_of_the_payments():
    assert OrderPlaced("o1", "c1", "SP", LINES, Decimal("0.3")) == placed(place())


def test_an_order_without_payments_has_no_amount_which_is_not_an_amount_of_zero():
    assert None is placed(place(payments=())).amount
    assert Decimal(0) == placed(place(payments=(Decimal(0),))).amount


def test_items_are_reserved_when_the_warehouse_has_them():
    assert ItemsReserved("o1", Decimal("0.3")) == decide_items(placed(place()), in_stock=True)


def test_items_are_unavailable_when_the_warehouse_has_not_got_them():
    assert ItemsUnavailable("o1") == decide_items(placed(place()), in_stock=False)


def test_an_order_without_items_cannot_be_had():
    assert ItemsUnavailable("o1") == decide_items(placed(place(lines=())), in_stock=True)


def test_a_receipt_makes_a_payment():
    expected = PaymentSucceeded("o1", Decimal("0.3"), "r1")
    assert expected == decide_payment(ItemsReserved("o1", Decimal("0.3")), "r1")


def test_a_declined_card_is_a_failed_payment():
    assert PaymentFailed("o1") == decide_payment(ItemsReserved("o1", Decimal("0.3")), None)


def test_no_payment_offered_is_a_failed_payment():
    assert PaymentFailed("o1") == decide_payment(ItemsReserved("o1", None), None)
