"""The statements on `unsettled` make the transitions of its table and no others."""

from __future__ import annotations

import sqlite3
from itertools import product

import pytest

from eventseam.delivery.item import Parked
from eventseam.delivery.unsettled import (
    TRANSITIONS,
    Filter,
    count_unsettled,
    discard,
    list_unsettled,
    park,
    postpone,
    redrive,
    settle,
    show_unsettled,
)
from eventseam.ports.sql import run_sync
from eventseam.storage.catalog import migrations
from eventseam.storage.sqlite_binding import SqliteSql
from tests.support.item import make_item

STATES = ("-", "retrying", "waiting", "dead")


@pytest.fixture
def sql():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in migrations("sqlite"):
        connection.executescript(migration.script)
    yield SqliteSql(connection)
    connection.close()


def _park(sql, state, message_id="m1", key="ann"):
    return run_sync(park(sql, make_item(key, message_id), Parked(state, 1, 10.0), 5.0))


def _states(sql):
    return [row.state for row in run_sync(list_unsettled(sql, Filter()))]


def _row(sql, state):
    """The item of a row in `state`, behind a retrying one if it waits; None for no row."""
    if state == "waiting":
        _park(sql, "retrying", "head", "ann")
    if state != "-":
        _park(sql, state)
    item = make_item("ann", "m1")
    found = [row.id for row in run_sync(list_unsettled(sql, Filter())) if row.message_id == "m1"]
    item.row = found[0] if found else 999
    return item


EVENTS = {
    "failed": lambda sql, item: run_sync(postpone(sql, item, Parked("retrying", 2, 20.0), 6.0)),
    "gave up": lambda sql, item: run_sync(postpone(sql, item, Parked("dead", 2, 20.0), 6.0)),
    "applied": lambda sql, item: run_sync(settle(sql, item, 6.0)),
    "redriven": lambda sql, item: run_sync(redrive(sql, Filter(ids=(item.row,)), 6.0)),
    "discarded": lambda sql, item: run_sync(discard(sql, [item.row], 6.0)),
}


@pytest.mark.parametrize("before,event", [*product(STATES, EVENTS)])
def test_a_row_changes_as_the_table_says(sql, before, event):
    item = _row(sql, before)
    EVENTS[event](sql, item)
    after = {row.message_id: row.state for row in run_sync(list_unsettled(sql, Filter()))}.get("m1", "-")
    if before == "-":  # there is no row to change: those of a new message are parked
        assert "-" == after
    elif (before, event) == ("retrying", "redriven"):
        assert "retrying" == after  # asked for by its id, it gets its attempts back
    else:
        assert TRANSITIONS.get((before, event), before) == after


@pytest.mark.parametrize("event,state", [("failed", "retrying"), ("gave up", "dead")])
def test_a_new_message_gets_the_state_of_its_event(sql, event, state):
    _park(sql, state)
    assert [TRANSITIONS["-", event]] == _states(sql)


@pytest.mark.parametrize("head", ["retrying", "dead"])
@pytest.mark.parametrize("state", ["retrying", "dead", "waiting"])
def test_a_new_message_behind_a_head_waits_whatever_became_of_it(sql, head, state):
    _park(sql, head, "m0")
    _park(sql, state)
    assert [head, TRANSITIONS["-", "came behind a head"]] == _states(sql)


def test_a_message_that_should_wait_behind_nothing_is_the_head(sql):
    _park(sql, "waiting")
    assert ["retrying"] == _states(sql)


@pytest.mark.parametrize("event", ["applied", "discarded"])
def test_what_waits_next_becomes_the_head_when_the_head_is_gone(sql, event):
    item = _row(sql, "retrying")
    _park(sql, "waiting", "m2")
    _park(sql, "waiting", "m3")
    EVENTS[event](sql, item)
    assert [TRANSITIONS["waiting", "became the head"], "waiting"] == _states(sql)


def test_discarding_one_that_waits_leaves_its_head_alone(sql):
    _park(sql, "dead", "m1")
    _park(sql, "waiting", "m2")
    _park(sql, "waiting", "m3")
    assert 1 == run_sync(discard(sql, [2], 6.0))
    assert ["dead", "waiting"] == _states(sql)


def test_settling_says_whether_the_lane_is_free(sql):
    item = _row(sql, "retrying")
    _park(sql, "waiting", "m2")
    run_sync(settle(sql, item, 6.0))
    assert not item.lane_is_free
    item.row = 2
    run_sync(settle(sql, item, 6.0))
    assert item.lane_is_free


def test_a_failure_after_a_rolled_back_success_does_not_leave_the_lane_free(sql):
    item = _row(sql, "retrying")
    item.lane_is_free = True
    EVENTS["failed"](sql, item)
    assert not item.lane_is_free


def test_a_message_is_parked_once(sql):
    assert _park(sql, "dead")
    assert not _park(sql, "retrying", key="another")
    assert ["dead"] == _states(sql)


def test_redriving_gives_all_attempts_back_from_now(sql):
    _park(sql, "dead")
    assert 1 == run_sync(redrive(sql, Filter(service="s"), 77.0))
    row = run_sync(show_unsettled(sql, 1))
    assert ("retrying", 0, 77.0, 77.0) == (row.state, row.attempts, row.next_at, row.since)


def test_redriving_means_only_what_the_filter_says(sql):
    for number, key in enumerate("abc", 1):
        _park(sql, "dead", f"m{number}", key)
    assert 0 == run_sync(redrive(sql, Filter(service="other"), 6.0))
    assert 0 == run_sync(redrive(sql, Filter(handler="other"), 6.0))
    assert 2 == run_sync(redrive(sql, Filter(ids=(1, 3)), 6.0))
    assert ["retrying", "dead", "retrying"] == _states(sql)


def test_without_ids_redriving_leaves_what_is_retrying_alone(sql):
    _park(sql, "retrying")
    assert 0 == run_sync(redrive(sql, Filter(), 6.0))


def test_lists_leave_the_body_out_and_show_gives_it_byte_for_byte(sql):
    _park(sql, "dead")
    (row,) = run_sync(list_unsettled(sql, Filter()))
    assert row.body is None
    assert b"\xff\0raw" == run_sync(show_unsettled(sql, row.id)).body
    assert run_sync(show_unsettled(sql, 999)) is None


def test_lists_and_counts_take_filters(sql):
    for number, (state, key) in enumerate([("dead", "a"), ("retrying", "b"), ("waiting", "a")], 1):
        _park(sql, state, f"m{number}", key)
    assert [1] == [row.id for row in run_sync(list_unsettled(sql, Filter(state="dead")))]
    assert [1, 2] == [row.id for row in run_sync(list_unsettled(sql, Filter(limit=2)))]
    assert [3] == [row.id for row in run_sync(list_unsettled(sql, Filter(ids=(3, 99))))]
    counts = [(each.service, each.handler, each.state, each.count) for each in run_sync(count_unsettled(sql))]
    assert [("s", "h", state, 1) for state in ("dead", "retrying", "waiting")] == counts
