"""What a client has handed over: pages go on where the last ones ended; who asks for another place begins anew."""

from __future__ import annotations

from typing import NamedTuple

from eventseam.ports.shelf import Shelf

START = {0: (("order", "a", 0), ("payment", "b", 0)), 1: (("order", "a", 0),)}


class Read(NamedTuple):
    """A message as it is read here."""

    message: str
    channel: str
    position: int


def shelf():
    found = Shelf(Read)
    found.moved(START)
    return found


def fill(it, slot, channel, *offsets):
    for offset in offsets:
        it.put(slot, channel, offset, f"{channel}-{offset}")


def texts(pages):
    return [[each.message for each in page.messages] for page in pages]


def test_a_page_is_of_one_slot_and_one_channel_and_ends_behind_its_last_message():
    it = shelf()
    fill(it, 0, "order", 0, 1)
    fill(it, 0, "payment", 4)
    first, second = it.pages([0], 10)
    assert [["order-0", "order-1"], ["payment-4"]] == texts([first, second])
    assert (("order", "a", 2), ("payment", "b", 0)) == first.end
    assert (("order", "a", 2), ("payment", "b", 5)) == second.end == it.at[0]
    assert 3 == it.given
    assert 0 == len(it)


def test_each_slot_gets_its_share_of_a_limit():
    it = shelf()
    fill(it, 0, "order", *range(10))
    fill(it, 1, "order", *range(2))
    assert [2, 2] == [len(page.messages) for page in it.pages([0, 1], 4)]
    assert [["order-2"]] == texts(it.pages([0], 1))


def test_a_slot_without_messages_gets_no_page_and_costs_no_share():
    it = shelf()
    fill(it, 0, "order", *range(10))
    assert [4] == [len(page.messages) for page in it.pages([0, 1], 4)]


def test_the_same_cursor_goes_on_and_another_one_begins_anew():
    it = shelf()
    fill(it, 1, "order", 0, 1, 2)
    it.pages([1], 1)
    assert {} == it.moved({1: it.at[1]})
    assert 2 == len(it)
    back = {1: (("order", "a", 0),)}
    assert back == it.moved(back)
    assert 0 == len(it)


def test_what_a_client_gives_again_is_not_given_twice():
    it = shelf()
    fill(it, 1, "order", 0, 1)
    it.pages([1], 10)
    fill(it, 1, "order", 0, 1, 2)
    assert [["order-2"]] == texts(it.pages([1], 10))


def test_a_message_of_a_slot_that_is_not_read_is_dropped():
    it = shelf()
    fill(it, 7, "order", 0)
    it.drop([1, 9])
    fill(it, 1, "order", 0)
    assert 0 == len(it)
    assert [] == it.pages([1, 7], 10)


def test_slots_with_too_much_ready_are_named_but_for_those_that_have_room():
    it = shelf()
    fill(it, 0, "order", *range(3))
    fill(it, 1, "order", *range(3))
    assert [1] == it.longer_than(2, {0: ()})
    assert [] == it.longer_than(3, {})
