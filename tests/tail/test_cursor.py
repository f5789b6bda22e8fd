"""The cursor, pure: what a snapshot covers, which read comes next, and that no schedule loses or doubles a row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from eventseam.journal.cursor import BEGINNING, FOREVER, Snapshot, SnapshotCursor, newest, next_step
from eventseam.journal.snapshot import SnapshotSource
from eventseam.journal.source import Hint
from eventseam.ports.sql import run_sync
from tests.tail.model import Model, is_visible

SLOTS = 3
WRITERS = st.integers(0, 4)
NUMBERS = range(740, 764)


@st.composite
def snapshots(draw) -> Snapshot:
    xmax = draw(st.integers(NUMBERS[0], NUMBERS[-1]))
    hidden = draw(st.sets(st.sampled_from(NUMBERS)))
    return Snapshot(xmax, tuple(sorted(x for x in hidden if x < xmax - 1)))  # xmax - 1 is the latest that has ended


@st.composite
def histories(draw) -> list[Snapshot]:
    """The snapshots of one server over time, at each beginning and each end of a transaction."""
    model = Model(SLOTS)
    seen = [model.snapshot()]
    for writer, begins in draw(st.lists(st.tuples(WRITERS, st.booleans()), max_size=30)):
        model.number(writer) if begins else model.end(writer, commits=True)
        seen.append(model.snapshot())
    return seen


def test_a_snapshot_is_read_as_postgresql_writes_it():
    assert Snapshot(10, ()) == Snapshot.parse("10:10:")
    assert Snapshot(20, (10, 14, 15)) == Snapshot.parse("10:20:10,14,15")


@given(snapshots(), snapshots())
def test_a_snapshot_covers_another_when_it_sees_all_that_the_other_sees(one, other):
    numbers = range(NUMBERS[0] - 1, NUMBERS[-1] + 2)
    is_superset = all(is_visible(x, one) for x in numbers if is_visible(x, other))
    assert is_superset == one.covers(other)


@given(histories())
def test_the_snapshots_of_a_server_are_nested(seen):
    for i, earlier in enumerate(seen):
        assert all(later.covers(earlier) for later in seen[i:])


@given(histories(), st.randoms(use_true_random=False))
def test_the_newest_of_some_cursors_covers_them_all(seen, chance):
    cursors = [SnapshotCursor(1, f"{min((*each.xip, each.xmax))}:{each.xmax}:{','.join(map(str, each.xip))}")
               for each in seen]  # fmt: skip
    chance.shuffle(cursors)
    found = newest(tuple(cursors), 1)
    assert seen[-1] == found


def test_cursors_inside_a_difference_or_of_another_era_are_nobodys_meeting_place():
    inside = SnapshotCursor(2, "10:10:", "20:20:", 3, 9)
    old = SnapshotCursor(1, "30:30:")
    assert newest((inside, old), 2) is None
    assert Snapshot(12, ()) == newest((inside, old, SnapshotCursor(2, "12:12:")), 2)


def test_an_open_difference_is_finished_first_whatever_else_there_is():
    inside = SnapshotCursor(1, "10:10:", "20:20:", 3, 9)
    assert "page" == next_step(inside, 1, Snapshot(30, ()))
    assert "page" == next_step(inside, 2, None)


def test_an_era_that_is_over_is_read_to_its_end_and_never_meets_anybody():
    assert "end of era" == next_step(SnapshotCursor(1, "10:10:"), 2, Snapshot(30, ()))


def test_a_slot_behind_the_latest_meets_it_and_the_latest_polls():
    latest = Snapshot.parse("12:20:12")
    assert "meet" == next_step(SnapshotCursor(1, "10:20:10,12"), 1, latest)
    assert "poll" == next_step(SnapshotCursor(1, "12:20:12"), 1, latest)
    assert "poll" == next_step(SnapshotCursor(1, "12:20:12"), 1, None)


def test_a_finished_difference_ends_at_its_own_end_and_an_era_in_the_next_one():
    inside = SnapshotCursor(3, "10:10:", "20:20:", 3, 9)
    assert SnapshotCursor(3, "10:10:", "20:20:", 5, 9) == inside.at(5)
    assert SnapshotCursor(3, "20:20:") == inside.finished()
    assert SnapshotCursor(4, BEGINNING) == SnapshotCursor(3, "20:20:", FOREVER, 0, 9).finished()


class Schedules(RuleBasedStateMachine):
    """Writers, a reader that dies, slots that fall behind and a journal that is rebased, in any order."""

    @initialize()
    def begin(self) -> None:
        self.model = Model(SLOTS)
        self.stored = dict.fromkeys(range(SLOTS), SnapshotCursor(1, BEGINNING))
        self.seen: list[int] = []
        self.reconnect()

    @rule()
    def reconnect(self) -> None:
        """What was only in memory is gone."""
        self.model.generation += 1
        self.source = SnapshotSource(self.model, Hint())  # type: ignore[arg-type]
        run_sync(self.source.prepare())
        self.at = dict(self.stored)

    @rule(writer=WRITERS)
    def take_a_number(self, writer) -> None:
        self.model.number(writer)

    @rule(writer=WRITERS, slot=st.integers(0, SLOTS - 1), count=st.integers(1, 4))
    def append(self, writer, slot, count) -> None:
        for each in range(count):
            self.model.append(writer, (slot + each) % SLOTS)

    @rule(writer=WRITERS, commits=st.booleans())
    def end(self, writer, commits) -> None:
        self.model.end(writer, commits=commits)

    @precondition(lambda self: self.model.era < 4)
    @rule()
    def rebase(self) -> None:
        """Every reader is fenced, and so loads again."""
        self.model.rebase()
        self.reconnect()

    @rule(
        slots=st.sets(st.integers(0, SLOTS - 1), min_size=1),
        limit=st.integers(1, 5),
        meanwhile=st.lists(st.tuples(WRITERS, st.sampled_from(["append", "commit", "abort"])), max_size=4),
        finishes=st.integers(0, 5),
    )
    def read(self, slots, limit, meanwhile, finishes) -> None:
        """One fetch, with writers at work between its statements; `finishes` messages of each page are applied."""

        def one_more() -> None:
            if meanwhile:
                writer, deed = meanwhile.pop()
                if deed == "append":
                    self.model.append(writer, writer % SLOTS)
                else:
                    self.model.end(writer, commits=deed == "commit")

        self.model.before_ask = one_more
        pages = run_sync(self.source.fetch({slot: self.at[slot] for slot in slots}, ["ledger"], limit))
        self.model.before_ask = lambda: None
        assert slots == {page.slot for page in pages}
        for page in pages:
            done = [message.position for message in page.messages[:finishes]]
            self.seen += done
            is_all = len(done) == len(page.messages)
            if is_all:
                self.at[page.slot] = SnapshotCursor(*page.end)
            elif done:
                self.at[page.slot] = SnapshotCursor(*page.at(done[-1]))
            if done:  # what nothing came of is not worth a write
                self.stored[page.slot] = self.at[page.slot]

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for writer in range(5):
            self.model.end(writer, commits=True)
        self.reconnect()
        for _ in range(400):
            before = dict(self.at)
            self.read(set(range(SLOTS)), 2, [], 5)
            if before == self.at and all(each.s1 is None for each in self.at.values()):
                break
        assert self.model.committed() == sorted(self.seen)
        assert 1 == len(set(self.at.values())), "slots that are read on together meet"


TestSchedules = Schedules.TestCase
