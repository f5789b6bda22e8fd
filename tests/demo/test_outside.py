"""The warehouse and the card gateway keep their promises, in an outage and over a kill too."""

from __future__ import annotations

from decimal import Decimal

import pytest

from eventseam.demo.outside import Outage, Outside, opened


@pytest.fixture
def outside(tmp_path):
    with opened(str(tmp_path / "outside")) as file:
        file.prepare(missing=["gone"], declined=["canceled"])
        yield file


def test_the_warehouse_lacks_what_it_was_told_to_lack(outside):
    assert [False, True] == [outside.has("gone"), outside.has("other")]


def test_the_same_key_is_charged_once(outside):
    receipts = {outside.charge("a", Decimal("1.10"), "payments/charge/m1") for _ in range(3)}
    assert {"receipt-a"} == receipts
    assert [("a", Decimal("1.10"))] == outside.charges("payments/%")


def test_another_key_is_another_charge_which_the_ledger_shows(outside):
    outside.charge("a", Decimal("1.10"), "payments/charge/m1")
    outside.charge("a", Decimal("1.10"), "payments/charge/m2")
    assert 2 == len(outside.charges("payments/%"))


def test_a_declined_card_is_not_charged(outside):
    assert None is outside.charge("canceled", Decimal(5), "payments/charge/m1")
    assert [] == outside.charges("%")


def test_in_an_outage_nothing_is_charged(outside):
    outside.begin_outage(10.0)
    with pytest.raises(ConnectionError):
        outside.charge("a", Decimal(1), "k")
    outside.end_outage(15.0)
    assert "receipt-a" == outside.charge("a", Decimal(1), "k")


def test_there_is_one_outage_however_often_it_is_begun(outside):
    for now in (10.0, 11.0):
        outside.begin_outage(now)
    outside.end_outage(15.0)
    outside.begin_outage(20.0)
    assert Outage(10.0, 15.0) == outside.outage()


def test_everything_is_there_after_a_kill(outside, tmp_path):
    outside.charge("a", Decimal("1.10"), "k")
    outside.begin_outage(10.0)
    outside.answer("a", "confirmed")
    outside.count(outside.begin_run(), 3, 1)
    again = Outside(str(tmp_path / "outside"))
    again.count(again.begin_run(), 4, 0)
    assert [("a", Decimal("1.10"))] == again.charges("%")
    assert Outage(10.0, None) == again.outage()
    assert {"a": "confirmed"} == again.answers()
    assert (7, 1) == again.counts()
    again.close()
