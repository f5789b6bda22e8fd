"""A window's position against a model: the set of what is finished, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventseam.delivery.window import Window
from eventseam.ports.transport import Page


def page(end: int, *, is_whole: bool = True) -> Page:
    """A page up to `end` of a log whose cursors are positions."""
    return Page(0, (), (end,), lambda position: (position,), is_whole)


def reading(end: int, done: int = 0, beyond: tuple[int, ...] = ()) -> Window:
    """A window that resumes after `done` and begins to read a page up to `end`."""
    window = Window((done,), beyond)
    window.read(page(end))
    window.scanned = (end,)
    return window


class WindowMachine(RuleBasedStateMachine):
    """Positions rise with gaps; each has one to three handlers, which finish in any order; the process restarts."""

    def __init__(self):
        super().__init__()
        self.left: dict[int, int] = {}  # every position ever admitted -> handlers that have not finished it
        self.head = 0
        self.stored: tuple[tuple[int], list[int]] = ((0,), [])

    @initialize()
    def start(self):
        self.window = Window((0,), [])

    @rule(gaps=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=6), beyond=st.integers(0, 5))
    def read_a_page(self, gaps, beyond):
        position = max(self.head, self.window.scanned[0])
        whole = page(position + sum(gap for gap, _ in gaps) + beyond)
        self.window.read(whole)
        for gap, handlers in gaps:
            position += gap
            self.left[position] = handlers
            assert self.window.admit(position, handlers)
        self._pass(whole)

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

    @rule(rows=st.integers(1, 5))
    def restart(self, rows):
        """A new process resumes from what was stored and reads the journal again, in pages."""
        done, beyond = self.stored
        self.window = Window(done, beyond)
        self.what_is_finished_is_never_forgotten()
        again = [position for position in sorted(self.left) if position > done[0]]
        finished_before = set(beyond)
        for position in again:
            if position not in finished_before:
                self.left[position] = max(self.left[position], 1)  # a handler whose finish was not stored does it again
        for start in range(0, len(again), rows):
            part = page(again[min(start + rows, len(again)) - 1], is_whole=False)
            self.window.read(part)
            for position in again[start : start + rows]:
                assert (position not in finished_before) == self.window.admit(position, self.left[position] or 1)
            self._pass(part)
            self.stored = self.window.after([])
            self.what_is_finished_is_never_forgotten()
        self._pass(page(max(self.head, self.window.scanned[0])))

    def _pass(self, part):
        self.window.passed(part)
        self.head = max(self.head, part.end[0])

    @invariant()
    def what_is_stored_never_passes_unfinished_work(self):
        for (done,), beyond in (self.stored, self.window.after([])):
            unfinished = {position for position, left in self.left.items() if left}
            assert not [position for position in unfinished if position <= done]
            assert not unfinished & set(beyond)

    @invariant()
    def what_is_finished_is_never_forgotten(self):
        (done,), beyond = self.window.after([])
        finished = {position for position, left in self.left.items() if not left}
        assert {position for position in finished if position > done} == set(beyond)

    @invariant()
    def it_is_empty_when_everything_is_finished(self):
        if not any(self.left.values()):
            assert 0 == len(self.window)
            assert self.window.scanned == self.window.done


TestWindow = WindowMachine.TestCase


def test_a_position_finished_beyond_the_low_water_survives_a_restart_and_an_empty_apply():
    window = Window((5,), [7, 9])
    assert ((5,), [7, 9]) == window.after([])


def test_a_position_finished_before_the_restart_is_not_admitted_again():
    window = reading(8, 5, (7, 9))
    assert window.admit(6, 1)
    assert not window.admit(7, 1)
    assert ((8,), [9]) == window.after([6])


def test_the_low_water_passes_what_nobody_here_handles():
    window = reading(10)
    window.admit(3, 1)
    assert ((10,), []) == window.after([3])


def test_finished_positions_with_nothing_unfinished_before_them_leave_the_window():
    window = reading(9, 5, (7,))
    assert not window.admit(7, 1)
    assert (0, (7,)) == (len(window), window.done)
    window.admit(8, 1)
    assert ((7,), []) == window.after([])


def test_what_a_whole_page_does_not_show_is_forgotten():
    window = reading(9, 5, (7,))
    window.admit(8, 1)
    window.passed(page(9))
    assert ((9,), []) == window.after([8])


def test_where_positions_do_not_rise_the_order_of_reading_counts():
    window = reading(20)
    window.admit(11, 1)
    window.admit(12, 1)
    late = Page(0, (), ("late",), lambda position: ("late", position), is_whole=True)
    window.passed(page(20))
    window.read(late)
    window.admit(3, 1)
    window.admit(4, 1)
    window.passed(late)
    assert ((11,), [3]) == window.after([11, 3])
    window.advance([11, 3, 12])
    assert (("late", 3), []) == window.after([])
    assert (("late",), []) == window.after([4])


@given(st.permutations(range(1, 9)))
def test_whatever_the_order_of_finishing_the_low_water_waits_for_the_first(order):
    window = reading(8)
    for position in range(1, 9):
        window.admit(position, 1)
    finished: set[int] = set()
    for position in order:
        finished.add(position)
        low = next((n - 1 for n in range(1, 9) if n not in finished), 8)
        assert ((low,), sorted(n for n in finished if n > low)) == window.after([position])
        window.advance([position])
