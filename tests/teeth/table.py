"""The table: every scenario, and which of them bites on which planted bug with which finding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from tests.teeth import plants as p
from tests.teeth import scenarios as s
from tests.teeth.stage import Stage

Scenario = Callable[[Stage], None]


class Bite(NamedTuple):
    """A plant, the scenario that must fail on it, and how its AssertionError must begin."""

    plant: Callable[[], AbstractContextManager[None]]
    scenario: Scenario
    finding: str


SCENARIOS: tuple[Scenario, ...] = (
    s.a_crash_at_any_point_changes_nothing,
    s.a_crash_between_two_messages_changes_nothing,
    s.a_crash_with_the_inbox_off_changes_nothing,
    s.a_crash_with_the_fence_off_changes_nothing,
    s.kill_nine_at_any_moment_changes_nothing,
    s.a_zombie_changes_nothing,
    s.a_zombie_with_the_inbox_off_changes_nothing,
    s.a_zombie_with_the_fence_off_changes_nothing,
    s.a_duplicate_is_absorbed,
    s.a_duplicate_of_an_unsettled_message_is_absorbed,
    s.a_retry_keeps_the_order_of_its_lane,
    s.writes_of_a_lane_keep_their_order,
    s.a_message_starts_after_its_predecessor_is_committed,
    s.what_is_unfinished_is_not_passed,
    s.what_is_finished_is_not_repeated_with_the_inbox_off,
    s.a_shutdown_settles_nothing_unfinished,
    s.an_outage_burns_no_attempts,
    s.an_apply_error_calls_nobody_again,
    s.a_dead_letter_is_kept_whole,
    s.a_commit_wakes_the_readers,
)

BITES: tuple[Bite, ...] = (
    Bite(p.settle_before_commit, s.a_crash_at_any_point_changes_nothing, "lost"),
    Bite(p.inbox_in_a_transaction_of_its_own, s.a_crash_between_two_messages_changes_nothing, "lost"),
    Bite(p.position_before_effect, s.a_crash_between_two_messages_changes_nothing, "lost"),
    Bite(p.event_after_the_transaction, s.a_crash_at_any_point_changes_nothing, "lost"),
    Bite(p.event_before_the_transaction, s.a_crash_at_any_point_changes_nothing, "doubled"),
    Bite(p.inbox_off, s.a_duplicate_is_absorbed, "doubled"),
    Bite(p.check_then_act, s.a_zombie_with_the_fence_off_changes_nothing, "doubled"),
    Bite(p.inbox_off, s.a_zombie_with_the_fence_off_changes_nothing, "doubled"),
    Bite(p.fence_off, s.a_zombie_with_the_inbox_off_changes_nothing, "doubled"),
    Bite(p.unsettled_not_unique, s.a_duplicate_of_an_unsettled_message_is_absorbed, "doubled"),
    Bite(p.retry_at_the_tail, s.a_retry_keeps_the_order_of_its_lane, "out of order"),
    Bite(p.newcomers_pass_a_parked_lane, s.a_retry_keeps_the_order_of_its_lane, "out of order"),
    Bite(p.parked_lanes_forgotten_at_start, s.a_retry_keeps_the_order_of_its_lane, "lost"),
    Bite(p.newest_becomes_the_head, s.a_retry_keeps_the_order_of_its_lane, "out of order"),
    Bite(p.writes_grouped_by_text, s.writes_of_a_lane_keep_their_order, "out of order"),
    Bite(p.lane_released_before_commit, s.a_message_starts_after_its_predecessor_is_committed, "blind"),
    Bite(p.position_past_unfinished_work, s.what_is_unfinished_is_not_passed, "lost"),
    Bite(p.low_water_only, s.what_is_finished_is_not_repeated_with_the_inbox_off, "doubled"),
    Bite(p.cancelled_counts_as_finished, s.a_shutdown_settles_nothing_unfinished, "lost"),
    Bite(p.no_circuit, s.an_outage_burns_no_attempts, "burnt"),
    Bite(p.probes_burn_attempts, s.an_outage_burns_no_attempts, "burnt"),
    Bite(p.batch_called_again, s.an_apply_error_calls_nobody_again, "called again"),
    Bite(p.dead_letter_as_text, s.a_dead_letter_is_kept_whole, "not whole"),
    Bite(p.hint_dropped, s.a_commit_wakes_the_readers, "asleep"),
    Bite(p.hint_cleared_after_the_look, s.a_commit_wakes_the_readers, "asleep"),
)
