"""A circuit's transitions are those of its table, and each one follows from what it is told."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventseam import Circuit, WiringError
from eventseam.delivery.circuit import CLOSED, TRANSITIONS, CircuitState

THREE = Circuit(failures=3, probe_seconds=1, probe_seconds_max=5)


def _tripped(now=10.0):
    state = CLOSED
    for lane in ("a", "b", "c"):
        state = state.after_failure(THREE, lane, "ConnectionError", now)
    return state


def test_it_trips_when_enough_different_lanes_fail_alike():
    state = _tripped()
    assert ("open", 11.0, "ConnectionError") == (state.state, state.probe_at, state.error)


def test_it_does_not_trip_by_one_lane_however_often_it_fails():
    state = CLOSED
    for _ in range(100):
        state = state.after_failure(THREE, "a", "ConnectionError", 0)
    assert "closed" == state.state


def test_it_does_not_trip_by_different_errors():
    state = CLOSED
    for n in range(100):
        state = state.after_failure(THREE, f"lane {n}", ("KeyError", "ValueError")[n % 2], 0)
    assert "closed" == state.state


def test_a_success_between_failures_is_remembered():
    state = CLOSED.after_failure(THREE, "a", "E", 0).after_failure(THREE, "b", "E", 0).after_success()
    assert "closed" == state.after_failure(THREE, "c", "E", 0).state


def test_it_is_probed_when_its_pause_is_over_and_not_before():
    state = _tripped()
    assert not state.may_probe(10.9)
    assert state.may_probe(11.0)


def test_while_it_is_probed_nothing_else_is_tried():
    assert not _tripped().when_probed().may_probe(1_000)


def test_a_probe_that_fails_doubles_the_pause_up_to_its_maximum():
    state, pauses = _tripped(), []
    for _ in range(5):
        state = state.when_probed().after_failure(THREE, "a", "E", 100)
        pauses.append(state.probe_at - 100)
    assert [2, 4, 5, 5, 5] == pauses
    assert "open" == state.state


def test_a_probe_that_succeeds_closes_it_and_forgets_everything():
    assert CLOSED == _tripped().when_probed().after_success()


def test_a_probe_that_proves_nothing_is_followed_by_another_at_once():
    state = _tripped().when_probed().after_nothing(50)
    assert "open" == state.state
    assert state.may_probe(50)
    assert 1 == state.pause_seconds


def test_what_proves_nothing_changes_nothing_unless_it_is_a_probe():
    for state in (CLOSED, _tripped(), CLOSED.after_failure(THREE, "a", "E", 0)):
        assert state == state.after_nothing(50)


def test_a_failure_while_it_is_open_changes_nothing():
    state = _tripped()
    assert state == state.after_failure(THREE, "z", "E", 500)


@pytest.mark.parametrize(
    "values", [{"failures": 0}, {"probe_seconds": 0}, {"probe_seconds": 2, "probe_seconds_max": 1}]
)
def test_numbers_that_make_no_circuit_are_refused(values):
    with pytest.raises(WiringError, match="must be"):
        Circuit(**values)


STEPS = st.one_of(
    st.just(("success",)),
    st.just(("nothing",)),
    st.tuples(st.just("failure"), st.sampled_from("abcd"), st.sampled_from(["E", "F"])),
    st.just(("time",)),
)


def _walked(state: CircuitState, step: tuple[str, ...], now: float) -> CircuitState:
    match step:
        case ("success",):
            return state if state.state == "open" else state.after_success()
        case ("nothing",):
            return state.after_nothing(now)
        case ("failure", lane, error):
            return state.after_failure(THREE, lane, error, now)
        case _:
            return state.when_probed() if state.may_probe(now) else state


@given(st.lists(STEPS, max_size=60))
def test_no_walk_leaves_the_table(steps):
    allowed = {(before, after) for (before, _), after in TRANSITIONS.items()}
    states, now = [CLOSED], 0.0
    for step in steps:
        now += 0.7
        states.append(_walked(states[-1], step, now))
    changes = {(one.state, other.state) for one, other in pairwise(states) if one.state != other.state}
    assert changes <= allowed


@given(st.lists(STEPS, max_size=60))
def test_a_circuit_that_is_not_closed_can_always_be_probed_again(steps):
    state, now = CLOSED, 0.0
    for step in steps:
        now += 0.7
        state = _walked(state, step, now)
    if state.state == "probing":
        state = state.after_nothing(now)
    assert state.state == "closed" or state.may_probe(now + THREE.probe_seconds_max)


def test_every_transition_of_the_table_is_taken_by_some_walk():
    probing = _tripped().when_probed()
    taken = {
        ("closed", _tripped().state),
        ("open", probing.state),
        ("probing", probing.after_success().state),
        ("probing", probing.after_failure(THREE, "a", "E", 0).state),
        ("probing", probing.after_nothing(0).state),
    }
    assert {(before, after) for (before, _), after in TRANSITIONS.items()} == taken


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e9])
def test_a_circuit_that_would_never_be_probed_again_is_refused(seconds):
    with pytest.raises(WiringError, match="a day"):
        Circuit(probe_seconds_max=seconds)
