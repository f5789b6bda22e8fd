"""Short work runs on the loop, slow work in a thread, and what was slow comes back when it is short again."""

from __future__ import annotations

import threading

import pytest

from eventseam.threads import ShortWork, Threads


class HandClock:
    """A clock that a body moves."""

    def __init__(self):
        self.at = 0.0

    def monotonic(self):
        return self.at


async def test_work_moves_between_the_loop_and_the_thread_by_its_last_duration():
    clock = HandClock()
    work = ShortWork(Threads("short", 1), clock)
    here = threading.current_thread()

    def body(seconds):
        clock.at += seconds
        return threading.current_thread() is here

    ran_here = [await work.run(lambda seconds=seconds: body(seconds)) for seconds in (0.0, 0.0, 0.5, 0.5, 0.0, 0.0)]
    assert [False, True, True, False, False, True] == ran_here


async def test_an_error_of_a_body_is_raised_as_it_is():
    work = ShortWork(Threads("short", 1), HandClock())

    def body():
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            await work.run(body)
