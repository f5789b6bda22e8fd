"""A window's position against a model: the set of what is finished, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventseam.delivery.window import Window


class WindowMachine(RuleBasedStateMachine):
    """Positions rise with gaps; each has one to three handlers, which finish in any order; the process restarts."""

    def __init__(self):
        super().__init__()
        self.left: dict[int, int] = {}  # every position ever admitted -> handlers that have not finished it
        self.head = 0
        self.stored: tuple[int, list[int]] = (0, [])

    @initialize()
    def start(self):
        self.window = Window(0, [])

    @rule(gaps=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=6), beyond=st.integers(0, 5))
    def read_a_page(self, gaps, beyond):
        position = max(self.head, self.window.scanned)
        for gap, handlers in gaps:
            position += gap
            self.left[position] = handlers
            assert self.window.admit(position, handlers)
        self._scan(position + beyond)

    @precondition(lambda self: any(self.left.values()))
    @rule(data=st.data())
    def finish_some(self, data):
        open_ = [position for position, left in self.left.items() for _ in range(left)]
        finished = data.draw(st.lists(st.sampled_from(open_), max_size=8))
        finished = [
            position for n, position in enumerate(finished) if finished[:n].count(position) < self.left[position]
        ]
        foretold = self.window.after(finished)
        self.window.advance(finished)
        for position in finished:
            self.left[position] -= 1
        assert foretold == self.window.after([])
        assert foretold[0] == self.window.done
        self.stored = foretold

    @rule()
    def store_without_finishing(self):
        self.stored = self.window.after([])

    @rule(page=st.integers(1, 5))
    def restart(self, page):
        """A new process resumes from what was stored and reads the journal again, in pages."""
        done, beyond = self.stored
        self.window = Window(done, beyond)
        self.what_is_finished_is_never_forgotten()
        again = [position for position in sorted(self.left) if position > done]
        finished_before = set(beyond)
        for position in again:
            if position not in finished_before:
                self.left[position] = max(self.left[position], 1)  # a handler whose finish was not stored does it again
        for start in range(0, len(again), page):
            for position in again[start : start + page]:
                assert (position not in finished_before) == self.window.admit(position, self.left[position] or 1)
            self._scan(again[min(start + page, len(again)) - 1])
            self.stored = self.window.after([])
            self.what_is_finished_is_never_forgotten()
        self._scan(max(self.head, self.window.scanned))

    def _scan(self, position):
        self.window.scanned = max(self.window.scanned, position)
        self.head = max(self.head, position)
        if not len(self.window):
            self.window.done = self.window.scanned

    @invariant()
    def what_is_stored_never_passes_unfinished_work(self):
        for done, beyond in (self.stored, self.window.after([])):
            unfinished = {position for position, left in self.left.items() if left}
            assert not [position for position in unfinished if position <= done]
            assert not unfinished & set(beyond)

    @invariant()
    def what_is_finished_is_never_forgotten(self):
        done, beyond = self.window.after([])
        finished = {position for position, left in self.left.items() if not left}
        assert {position for position in finished if position > done} == set(beyond)

    @invariant()
    def it_is_empty_when_everything_is_finished(self):
        if not any(self.left.values()):
            assert 0 == len(self.window)
            assert self.window.scanned == self.window.done


TestWindow = WindowMachine.TestCase


def test_a_position_finished_beyond_the_low_water_survives_a_restart_and_an_empty_apply():
    window = Window(5, [7, 9])
    assert (5, [7, 9]) == window.after([])


def test_a_position_finished_before_the_restart_is_not_admitted_again():
    window = Window(5, [7, 9])
    assert window.admit(6, 1)
    assert not window.admit(7, 1)
    window.scanned = 8
    assert (8, [9]) == window.after([6])


def test_the_low_water_passes_what_nobody_here_handles():
    window = Window(0, [])
    window.admit(3, 1)
    window.scanned = 10
    assert (10, []) == window.after([3])


def test_finished_positions_with_nothing_unfinished_before_them_leave_the_window():
    window = Window(5, [7])
    assert not window.admit(7, 1)
    assert (0, 7) == (len(window), window.done)
    window.admit(8, 1)
    assert (7, []) == window.after([])


@given(st.permutations(range(1, 9)))
def test_whatever_the_order_of_finishing_the_low_water_waits_for_the_first(order):
    window = Window(0, [])
    for position in range(1, 9):
        window.admit(position, 1)
    window.scanned = 8
    finished: set[int] = set()
    for position in order:
        finished.add(position)
        low = next((n - 1 for n in range(1, 9) if n not in finished), 8)
        assert (low, sorted(n for n in finished if n > low)) == window.after([position])
        window.advance([position])
