"""Merging keeps each lane's own order and runs every write exactly once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from eventseam.delivery.merge import merged

LANES = st.lists(st.lists(st.sampled_from(["insert", "update", "delete", "upsert"]), max_size=6), max_size=8)


def _numbered(lanes):
    return [[(text, (lane, step)) for step, text in enumerate(texts)] for lane, texts in enumerate(lanes)]


@given(LANES)
def test_every_write_runs_exactly_once_with_its_own_statement(lanes):
    lanes = _numbered(lanes)
    ran = [(text, args) for text, group in merged(lanes) for args in group]
    assert Counter(write for lane in lanes for write in lane) == Counter(ran)


@given(LANES)
def test_inside_a_lane_the_order_never_changes(lanes):
    ran = [args for _, group in merged(_numbered(lanes)) for args in group]
    for lane, texts in enumerate(lanes):
        assert list(range(len(texts))) == [step for owner, step in ran if owner == lane]


@given(st.integers(1, 50), st.integers(1, 5))
def test_lanes_that_do_the_same_need_one_statement_per_step(lanes, steps):
    groups = list(merged([[(f"step {step}", (lane,)) for step in range(steps)] for lane in range(lanes)]))
    assert steps == len(groups)
    assert all(lanes == len(args) for _, args in groups)


def test_grouping_by_text_alone_would_break_a_lane():
    lanes = [[("update", 1), ("insert", 2)], [("insert", 3), ("update", 4)]]
    order = [args for _, group in merged(lanes) for args in group]
    assert order.index(1) < order.index(2)
    assert order.index(3) < order.index(4)


def test_nothing_gives_nothing():
    assert [] == list(merged([])) == list(merged([[], []]))
