"""Generated orders are of the same kind as real ones, and the same seed always gives the same orders."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from eventseam.demo.generate import generate


def test_the_same_seed_gives_the_same_orders():
    assert generate(7, 300) == generate(7, 300)


def test_another_seed_gives_other_orders():
    assert not {o.place.order_id for o in generate(7, 300)} & {o.place.order_id for o in generate(8, 300)}


def test_more_orders_begin_with_the_same_ones():
    assert generate(7, 100) == generate(7, 300)[:100]


def test_the_first_order_of_a_seed_never_changes():
    first = generate(1, 1)[0]
    assert "32ee1ed03fc60eb52efb18bfaff372b7" == first.place.order_id
    assert (Decimal("153.56"),) == first.place.payments


def test_outcomes_have_the_proportions_of_real_orders():
    found = Counter(order.outcome for order in generate(1, 4049))
    for outcome, real in (("confirmed", 3287), ("items unavailable", 545), ("payment failed", 217)):
        assert abs(found[outcome] - real) < real * 0.15


def test_payments_add_up_to_the_prices_and_the_freight():
    for order in generate(3, 500):
        if order.place.payments:
            due = sum((line.price for line in order.place.lines), Decimal("10.00"))
            assert due == sum(order.place.payments)


def test_ids_are_unique():
    assert 4049 == len({order.place.order_id for order in generate(1, 4049)})
