"""Orders are read from CSV files as they are: nothing lost, nothing guessed, and their outcome follows from rules."""

from __future__ import annotations

from decimal import Decimal

import pytest

from eventseam.demo.data import DataError, load
from eventseam.demo.shop.orders.contracts import Line

ORDERS = """order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at
late,c1,delivered,2017-03-01 00:00:00,
early,c2,delivered,2017-01-01 00:00:00,
gone,c3,unavailable,2017-01-02 00:00:00,
empty,c4,shipped,2017-01-03 00:00:00,
canceled,c5,canceled,2017-01-04 00:00:00,
unpaid,c6,delivered,2017-01-05 00:00:00,
canceled-and-empty,c7,canceled,2017-01-06 00:00:00,
"""
ITEMS = """order_id,order_item_id,product_id,seller_id,price,freight_value
late,1,p1,s1,10.5,1.0
late,2,p2,s1,0.30,1.0
early,1,p1,s1,10.5,1.0
gone,1,p1,s1,10.5,1.0
canceled,1,p3,s1,7,1.0
unpaid,1,p3,s1,7,1.0
"""
PAYMENTS = """order_id,payment_sequential,payment_type,payment_installments,payment_value
late,1,credit_card,1,0.1
late,2,voucher,1,0.2
early,1,boleto,1,11.50
gone,1,boleto,1,11.50
canceled,1,boleto,1,8
"""
CUSTOMERS = """customer_id,customer_unique_id,customer_city,customer_state
c1,u1,são paulo,SP
c2,u2,rio,RJ
c3,u3,rio,RJ
"""


@pytest.fixture
def folder(tmp_path):
    files = {"orders": ORDERS, "items": ITEMS, "payments": PAYMENTS, "customers": CUSTOMERS}
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def by_id(folder):
    return {order.place.order_id: order for order in load(folder)}


def test_orders_come_in_the_order_of_their_purchase(folder):
    expected = ["early", "gone", "empty", "canceled", "unpaid", "canceled-and-empty", "late"]
    assert expected == [order.place.order_id for order in load(folder)]


def test_lines_and_payments_belong_to_their_order_digit_for_digit(folder):
    late = by_id(folder)["late"].place
    assert (Line("p1", Decimal("10.5")), Line("p2", Decimal("0.30"))) == late.lines
    assert (Decimal("0.1"), Decimal("0.2")) == late.payments
    assert Decimal("0.3") == sum(late.payments)


@pytest.mark.parametrize(
    "order_id, outcome",
    [
        ("late", "confirmed"),
        ("gone", "items unavailable"),
        ("empty", "items unavailable"),
        ("canceled", "payment failed"),
        ("unpaid", "payment failed"),
        ("canceled-and-empty", "items unavailable"),
    ],
)
def test_the_outcome_follows_from_items_payments_and_status(folder, order_id, outcome):
    assert outcome == by_id(folder)[order_id].outcome


def test_a_customer_who_is_not_listed_has_no_state_that_we_know(folder):
    assert ["RJ", "unknown"] == [by_id(folder)[order_id].place.state for order_id in ("early", "canceled")]


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        ("payments", "0.2", "O.2", "payments.csv, line 3: payment_value is 'O.2', which is no amount"),
        ("payments", "0.2", "NaN", "payments.csv, line 3: payment_value is NaN, which is no amount"),
        ("payments", "0.2", "", "payments.csv, line 3: payment_value is '', which is no amount"),
        ("items", "price,", "cost,", "items.csv, line 2: price is missing"),
        ("orders", "early,", "late,", "orders.csv, line 3: order_id is 'late', which is empty or taken"),
        ("orders", "early,", ",", "orders.csv, line 3: order_id is '', which is empty or taken"),
    ],
)
def test_what_cannot_be_read_is_named_with_file_line_and_column(folder, name, old, new, message):
    path = folder / f"{name}.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(folder)


def test_a_missing_file_is_named(folder):
    (folder / "items.csv").unlink()
    with pytest.raises(DataError, match=r"items\.csv is not there"):
        load(folder)


def test_bytes_that_are_no_text_are_named(folder):
    (folder / "orders.csv").write_bytes(b"order_id\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"orders\.csv is no CSV file in UTF-8"):
        load(folder)
