"""Lanes: one item of a lane at a time, in order; what an owner had is forgotten with it, calls go on."""

from __future__ import annotations

import asyncio

from eventseam.delivery.lanes import Lanes
from eventseam.delivery.shift import Shift
from tests.support.item import make_item


def _item(key, shift=None, number=0):
    return make_item(key, f"{key}{number}", shift)


def _lanes():
    return Lanes(["h"])


def _ready(lanes):
    return [item.received.envelope.id for item in lanes.ready["h"].items]


def _shift():
    return Shift("s", {})


def test_one_item_of_a_lane_is_ready_the_others_wait_in_order():
    lanes, shift = _lanes(), _shift()
    for number in range(3):
        lanes.offer(_item("a", shift, number))
    lanes.offer(_item("b", shift))
    assert ["a0", "b0"] == _ready(lanes)
    lanes.ready["h"].items.clear()
    lanes.release(("h", "a"))
    assert ["a1"] == _ready(lanes)
    lanes.release(("h", "a"))
    assert ["a1", "a2"] == _ready(lanes)


def test_a_lane_that_is_released_to_its_end_is_free():
    lanes, shift = _lanes(), _shift()
    lanes.offer(_item("a", shift, 0))
    lanes.release(("h", "a"))
    lanes.offer(_item("a", shift, 1))
    assert ["a0", "a1"] == _ready(lanes)


def test_draining_takes_all_that_waits_and_frees_the_lane():
    lanes, shift = _lanes(), _shift()
    for number in range(3):
        lanes.offer(_item("a", shift, number))
    assert ["a1", "a2"] == [item.received.envelope.id for item in lanes.drain(("h", "a"))]
    lanes.offer(_item("a", shift, 3))
    assert ["a0", "a3"] == _ready(lanes)


def test_releasing_or_draining_a_lane_that_is_not_there_does_nothing():
    lanes = _lanes()
    lanes.release(("h", "a"))
    assert [] == lanes.drain(("h", "a"))


def test_clearing_forgets_what_came_from_the_source():
    lanes, shift = _lanes(), _shift()
    for number in range(3):
        lanes.offer(_item("a", shift, number))
    lanes.clear()
    assert [] == _ready(lanes)
    lanes.offer(_item("a", _shift(), 9))
    assert ["a9"] == _ready(lanes)


def test_clearing_lets_a_call_run_that_waited_behind_a_message():
    lanes, shift = _lanes(), _shift()
    lanes.offer(_item("a", shift, 0))
    lanes.offer(_item("a", None, 1))
    lanes.offer(_item("a", shift, 2))
    lanes.offer(_item("a", None, 3))
    lanes.clear()
    assert ["a1"] == _ready(lanes)
    lanes.release(("h", "a"))
    assert ["a1", "a3"] == _ready(lanes)


def test_clearing_keeps_the_lane_of_a_call_that_is_on_its_way():
    lanes, shift = _lanes(), _shift()
    lanes.offer(_item("a", None, 0))
    lanes.ready["h"].items.clear()
    lanes.offer(_item("a", shift, 1))
    lanes.offer(_item("a", None, 2))
    lanes.clear()
    lanes.offer(_item("a", _shift(), 3))
    assert [] == _ready(lanes)
    lanes.release(("h", "a"))
    assert ["a2"] == _ready(lanes)
    lanes.release(("h", "a"))
    assert ["a2", "a3"] == _ready(lanes)


async def test_a_worker_that_waits_is_woken_by_the_next_item():
    lanes = _lanes()
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(lanes.ready["h"].get())
        await asyncio.sleep(0)
        lanes.offer(_item("a"))
    assert "a0" == worker.result().received.envelope.id


async def test_a_worker_that_gave_up_waiting_swallows_no_wake_up():
    lanes = _lanes()
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(lanes.ready["h"].get()) for _ in range(3)]
        await asyncio.sleep(0)
        workers[2].cancel()
        for key in "ab":
            lanes.offer(_item(key))
    assert {"a0", "b0"} == {worker.result().received.envelope.id for worker in workers[:2]}


def test_more_gives_what_is_ready_and_no_more_than_asked():
    lanes = _lanes()
    for key in "abcde":
        lanes.offer(_item(key))
    assert 3 == len(lanes.ready["h"].more(3))
    assert 2 == len(lanes.ready["h"].more(10))
    assert [] == lanes.ready["h"].more(10)
