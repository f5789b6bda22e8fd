"""What happens to a message after a failed attempt is a pure decision."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventseam import NotYet, Retry, WiringError
from eventseam.delivery.policy import Dead, RetryIn, next_step
from eventseam.errors import TooLarge, Undecodable, UnknownType

chances = st.floats(0, 1, exclude_max=True)


def _step(error=None, retry=None, **given_):
    values = {"attempts": 0, "waited_seconds": 0.0, "chance": 0.5, **given_}
    return next_step(retry or Retry(jitter=0), error or ValueError(), **values)


def test_each_failure_burns_an_attempt_and_doubles_the_pause():
    steps = [_step(attempts=burnt) for burnt in range(4)]
    assert [RetryIn(1, 1), RetryIn(2, 2), RetryIn(4, 3), RetryIn(8, 4)] == steps


def test_the_last_attempt_ends_in_a_dead_letter():
    assert Dead(10) == _step(attempts=9)
    assert Dead(1) == _step(retry=Retry(attempts=1))


def test_the_default_outlasts_eight_minutes_even_with_the_least_luck():
    retry = Retry()
    assert sum(retry.delay_seconds(attempt, 0.0) for attempt in range(1, retry.attempts)) > 480 * (1 - retry.jitter)
    assert sum(retry.delay_seconds(attempt, 0.5) for attempt in range(1, retry.attempts)) > 480


@pytest.mark.parametrize("error", [Undecodable("x"), UnknownType("x"), TooLarge("x")])
def test_what_cannot_be_read_is_not_tried_again(error):
    assert Dead(1) == _step(error)


def test_a_policy_names_errors_that_are_not_tried_again():
    retry = Retry(never_on=(KeyError,), jitter=0)
    assert Dead(1) == _step(KeyError(), retry)
    assert RetryIn(1, 1) == _step(Undecodable("x"), retry)


def test_not_yet_burns_no_attempt():
    for attempts in (0, 3, 9, 50):
        step = _step(NotYet("soon"), attempts=attempts)
        assert isinstance(step, RetryIn)
        assert attempts == step.attempts


def test_not_yet_waits_longer_the_longer_it_has_waited():
    pauses = [_step(NotYet("soon"), waited_seconds=waited).seconds for waited in (0, 1, 3, 10, 100, 1_000)]
    assert sorted(pauses) == pauses
    assert 1 == pauses[0]
    assert pauses[-1] > 100


def test_not_yet_ends_at_its_deadline():
    assert isinstance(_step(NotYet("soon", within_seconds=60), waited_seconds=59.9), RetryIn)
    assert Dead(4) == _step(NotYet("soon", within_seconds=60), attempts=4, waited_seconds=60)


@given(st.integers(1, 10_000), chances, st.floats(0, 0.99))
def test_the_pause_stays_within_its_jitter_and_below_the_maximum(attempt, chance, jitter):
    retry = Retry(first_seconds=0.5, max_seconds=60, jitter=jitter)
    middle = min(60, 0.5 * 2 ** min(attempt - 1, 64))
    pause = retry.delay_seconds(attempt, chance)
    assert middle * (1 - jitter) * 0.999 <= pause <= middle * (1 + jitter) * 1.001
    assert pause <= retry.seconds_max


@given(st.floats(0.001, 10), st.floats(1, 1_000), st.floats(1, 5), st.floats(0, 0.9), chances)
def test_no_pause_is_longer_than_the_policy_says(first, longest, factor, jitter, chance):
    retry = Retry(first_seconds=first, max_seconds=first * longest, factor=factor, jitter=jitter)
    for attempt in (1, 2, 10, 100, 10**6):
        assert 0 < retry.delay_seconds(attempt, chance) <= retry.seconds_max


@pytest.mark.parametrize(
    "values",
    [
        {"attempts": 0},
        {"first_seconds": 0},
        {"first_seconds": -1},
        {"first_seconds": 10, "max_seconds": 9},
        {"factor": 0.5},
        {"jitter": 1},
        {"jitter": -0.1},
        {"attempts": math.nan},
        {"attempts": 10**9},
        {"first_seconds": math.nan},
        {"max_seconds": math.nan},
        {"max_seconds": math.inf},
        {"max_seconds": 1e9},
        {"first_seconds": math.inf, "max_seconds": math.inf},
        {"factor": math.nan},
        {"factor": math.inf},
        {"factor": 1e200},
        {"jitter": math.nan},
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(values):
    with pytest.raises(WiringError, match="must be"):
        Retry(**values)


def test_the_steepest_policy_does_not_overflow():
    retry = Retry(first_seconds=31_536_000, max_seconds=31_536_000, factor=1_000, jitter=0)
    assert 31_536_000 == retry.delay_seconds(1_000_000, 0.5)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf])
def test_a_deadline_that_never_comes_is_refused_where_it_is_written(seconds):
    with pytest.raises(ValueError, match="within_seconds"):
        NotYet("later", within_seconds=seconds)


def test_a_deadline_that_is_no_number_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="soon"):
        NotYet("later", within_seconds="soon")  # type: ignore[arg-type]
