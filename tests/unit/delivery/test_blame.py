"""Who is to blame for what the database refuses: it depends on how often that was just after other work was taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from eventseam.delivery.committer import REFUSALS_MAX, is_to_blame
from eventseam.delivery.handler import Record
from eventseam.delivery.item import Done, Parked


def item(outcome: object) -> Any:
    handler = SimpleNamespace(service="shop", name="sell")
    return cast("Any", SimpleNamespace(handler=handler, outcome=outcome))


DONE, PARKED = item(Done(Record())), item(Parked("waiting", 0, 0.0))


def test_nothing_is_to_blame_while_the_database_takes_nothing_else():
    assert not is_to_blame([DONE, DONE], 0)
    assert not is_to_blame([DONE], 0)


def test_a_batch_is_halved_as_soon_as_other_work_was_taken():
    assert is_to_blame([DONE, PARKED], 1)


def test_a_message_is_tried_more_than_once_before_it_pays():
    assert [False, True] == [is_to_blame([DONE], refusals) for refusals in (REFUSALS_MAX - 1, REFUSALS_MAX)]


def test_a_message_of_a_handler_that_was_found_guilty_pays_at_once():
    assert is_to_blame([DONE], 1, {"shop.sell"})
    assert not is_to_blame([DONE], 1, {"shop.buy"})


def test_an_outcome_that_is_not_the_handlers_doing_is_waited_for():
    assert not is_to_blame([PARKED], 1_000)
