"""The audit sees what is lost, done twice or done in the wrong order, and excuses only dead letters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventseam.demo.audit import Effect, Entry, Findings, compare, compare_charges, compare_relayed

JOURNAL = [
    Entry(1, "m1", "order.placed", "a"),
    Entry(2, "m2", "order.placed", "b"),
    Entry(3, "m3", "order.confirmed", "a"),
    Entry(4, "m4", "order.confirmed", "b"),
]
EFFECTS = [Effect(entry.order_id, entry.message_id) for entry in JOURNAL]


def test_one_effect_for_each_message_in_order_is_clean():
    assert Findings(handled=4) == compare(JOURNAL, EFFECTS)
    assert compare(JOURNAL, EFFECTS).is_clean


def test_orders_among_each_other_have_no_order():
    one, two, three, four = EFFECTS
    assert compare(JOURNAL, [two, four, one, three]).is_clean


def test_messages_of_two_journals_have_no_order_among_each_other():
    first, second = Entry(900, "m1", "order.placed", "a", 0), Entry(2, "m2", "payment.failed", "a", 1)
    effects = [Effect("a", "m1"), Effect("a", "m2")]
    assert compare([first, second], effects).is_clean
    assert 1 == compare([first, second._replace(journal=0)], effects).out_of_order


def test_a_message_without_effect_is_lost():
    assert Findings(handled=3, lost=1) == compare(JOURNAL, EFFECTS[:3])


def test_a_dead_letter_is_not_lost():
    assert compare(JOURNAL, EFFECTS[:3], excused={"m4"}).is_clean


def test_a_second_effect_is_a_duplicate():
    assert Findings(handled=6, duplicated=2, out_of_order=1) == compare(JOURNAL, [*EFFECTS, EFFECTS[3], EFFECTS[0]])


def test_an_effect_of_no_message_is_a_duplicate():
    assert Findings(handled=5, duplicated=1) == compare(JOURNAL, [*EFFECTS, Effect("c", "never said")])


def test_a_confirmation_before_its_order_is_out_of_order():
    one, two, three, four = EFFECTS
    assert Findings(handled=4, out_of_order=1) == compare(JOURNAL, [three, one, two, four])


@given(st.sets(st.integers(0, 3)), st.lists(st.integers(0, 3), max_size=5))
def test_every_planted_loss_and_every_planted_copy_is_counted(lost, copied):
    effects = [effect for at, effect in enumerate(EFFECTS) if at not in lost]
    copies = [EFFECTS[at] for at in copied if at not in lost]
    found = compare(JOURNAL, effects + copies)
    assert (len(lost), len(copies)) == (found.lost, found.duplicated)


def test_a_card_that_is_charged_twice_is_found():
    assert Findings(duplicated=1) == compare_charges(["a", "b"], ["a", "b", "b"])


def test_a_payment_without_charge_and_a_charge_without_payment_are_both_losses():
    assert Findings(lost=2) == compare_charges(["a", "b"], ["b", "c"])


def test_findings_add_up():
    assert Findings(5, 1, 2, 3) == Findings(4, 1, 0, 1).plus(Findings(1, 0, 2, 2))


def test_a_bus_that_has_everything_in_order_is_clean():
    assert compare_relayed(JOURNAL, JOURNAL).is_clean
    assert compare_relayed(JOURNAL[:2], JOURNAL).is_clean


def test_what_no_relay_brought_is_lost():
    assert 1 == compare_relayed(JOURNAL, JOURNAL[:3]).lost


def test_a_relay_that_overtook_itself_is_out_of_order():
    one, two, three, four = JOURNAL
    assert 1 == compare_relayed(JOURNAL, [three, one, two, four]).out_of_order
