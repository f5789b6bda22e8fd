"""Cursors of several channels: places never shift, a loss is told, and an accepted one is settled once."""

from __future__ import annotations

import pytest

from eventseam import StorageError
from eventseam.ports.cursors import (
    accepted,
    behind,
    check_incarnations,
    lost,
    offset_of,
    place_of,
    position_of,
    settled,
    unsure,
)

CURSOR = (("order", "a", 5), ("payment", "b", 7))


def test_a_position_is_the_place_of_its_channel_and_where_the_message_lies():
    positions = [position_of(place_of(CURSOR, channel), n) for channel in ("order", "payment") for n in (0, 5, 2**47)]
    assert sorted(positions) == positions
    assert [0, 5, 2**47] * 2 == [offset_of(each) for each in positions]


def test_a_cursor_behind_a_position_moves_that_channel_alone():
    assert (("order", "a", 5), ("payment", "b", 12)) == behind(CURSOR, 1, position_of(1, 11))


def test_accepting_makes_every_channel_unsure_and_twice_is_once():
    once = accepted(CURSOR)
    assert once == accepted(once)
    assert set() == unsure(CURSOR, ["order", "payment"])
    assert {"order", "payment"} == unsure(once, ["order", "payment"])


def test_a_channel_that_is_new_is_unsure():
    assert {"stock"} == unsure(CURSOR, ["order", "stock"])


def test_an_accepted_cursor_goes_on_where_it_was_if_that_is_still_there():
    (page,) = settled({0: accepted(CURSOR)}, {0: (("order", "a", 2), ("payment", "b", 7))})
    assert CURSOR == page.end
    assert ((), CURSOR, False) == (page.messages, page.at(9), page.is_whole)


def test_an_accepted_cursor_goes_on_at_the_oldest_of_what_was_trimmed():
    (page,) = settled({0: accepted(CURSOR)}, {0: (("order", "a", 9), ("payment", "b", 0))})
    assert (("order", "a", 9), ("payment", "b", 7)) == page.end


def test_an_accepted_cursor_begins_anew_in_a_channel_that_was_made_again():
    (page,) = settled({0: accepted(CURSOR)}, {0: (("order", "z", 0), ("payment", "b", 0))})
    assert (("order", "z", 0), ("payment", "b", 7)) == page.end


def test_a_channel_that_is_new_is_added_at_the_end():
    (page,) = settled({0: CURSOR}, {0: (("a-new-one", "n", 3),)})
    assert (*CURSOR, ("a-new-one", "n", 3)) == page.end


def test_what_is_sure_is_left_as_it_is_whatever_is_found():
    (page,) = settled({0: CURSOR}, {0: (("order", "z", 99),)})
    assert CURSOR == page.end


def test_an_incarnation_that_is_not_known_is_taken_for_the_same():
    (page,) = settled({0: (("order", "?", 5),)}, {0: (("order", "a", 0),)})
    assert (("order", "a", 5),) == page.end


ELSEWHERE = "(or EVENTSEAM_TRANSPORT names another broker or prefix than before: then set it back)"


@pytest.mark.parametrize("found, told", [("", "is gone"), ("z", f"was deleted and made again {ELSEWHERE}")])
def test_another_incarnation_is_an_error_that_names_reader_channel_partition_and_command(found, told):
    with pytest.raises(StorageError) as raised:
        check_incarnations(("shop/6@bus", 3), CURSOR, {"order": found})
    assert f"channel order, partition 3, {told}, and shop/6@bus had read it up to 5 only" in str(raised.value)
    assert str(raised.value).endswith("eventseam journal accept-gap shop/6@bus")


def test_the_same_incarnation_an_unknown_one_and_an_accepted_one_are_no_error():
    check_incarnations(("shop/6@bus", 3), CURSOR, {"order": "a"})
    check_incarnations(("shop/6@bus", 3), CURSOR, {})
    check_incarnations(("shop/6@bus", 3), (("order", "", 5),), {"order": "z"})
    check_incarnations(("shop/6@bus", 3), accepted(CURSOR), {"order": "z", "payment": ""})


def test_a_loss_is_no_trouble_that_passes():
    assert StorageError is type(lost(("shop/6@bus", 0), "order", 5, "was trimmed"))
