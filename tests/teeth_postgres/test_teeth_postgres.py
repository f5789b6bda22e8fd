"""The scenarios hold on the honest engine, and each fails on its planted bugs."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from eventseam import Seams
from tests.teeth_postgres import ahead, plants, taken_back
from tests.teeth_postgres import scenarios as s


class Bite(NamedTuple):
    """A plant, a scenario that it makes fail, and the first words of what is found then."""

    plant: object
    scenario: object
    finding: str


BITES = [
    Bite(plants.noted_before_published, s.a_relay_that_crashes_loses_nothing, "lost"),
    Bite(plants.later_batch_after_an_unknown_outcome, s.an_unknown_outcome_holds_up_what_is_later, "out of order"),
    Bite(plants.published_before_it_is_durable, s.what_is_published_is_durable, "not durable"),
    Bite(plants.note_that_does_not_wait, s.what_is_published_is_durable, "not durable"),
    Bite(
        plants.look_ahead_published_under_the_note_before,
        ahead.a_page_fetched_ahead_is_durable_when_it_is_published,
        "not durable",
    ),
    Bite(plants.look_ahead_of_slots_that_are_given_back, ahead.what_is_given_back_is_not_published, "not ours"),
    Bite(plants.note_of_a_zombie, ahead.a_relay_that_was_replaced_publishes_no_more, "by a zombie"),
    Bite(plants.note_of_another_life, ahead.what_a_crash_takes_back_is_not_published, "taken back"),
    Bite(plants.bus_cursor_before_the_commit, s.a_reader_of_the_bus_that_crashes_loses_nothing, "lost"),
    Bite(plants.bus_cursor_of_a_zombie, s.a_zombie_leaves_the_cursors_on_the_bus_alone, "moved"),
    Bite(plants.cursor_kept_over_a_reconnect, s.a_cursor_is_not_used_on_another_connection, "kept"),
    Bite(plants.fence_off, s.a_zombie_with_the_inbox_off_applies_nothing, "doubled"),
    Bite(plants.fence_of_another_life, taken_back.what_a_crash_takes_back_is_not_applied, "taken back"),
    Bite(
        plants.fence_of_another_life, taken_back.what_a_crash_takes_back_is_not_applied_by_a_transaction, "taken back"
    ),
    Bite(plants.inbox_off, s.a_zombie_with_the_fence_off_applies_nothing, "doubled"),
    Bite(plants.given_back_without_draining, s.a_slot_is_drained_before_it_is_given_back, "crowded"),
    Bite(plants.parked_lanes_retried_by_anyone, s.only_its_owner_tries_a_parked_message_again, "crowded"),
]


@pytest.fixture
def databases(postgres_server):
    """A service's database and a bus."""
    names = [f"teeth_{Seams().ids.new().replace('-', '')}_{n}" for n in range(2)]
    yield [postgres_server.database(name) for name in names]
    for name in names:
        postgres_server.drop(name)


@pytest.mark.parametrize("scenario", dict.fromkeys(bite.scenario for bite in BITES), ids=lambda each: each.__name__)
async def test_the_engine_keeps_its_promise_on_postgresql(databases, scenario):
    await scenario(*databases)


@pytest.mark.parametrize("bite", BITES, ids=lambda bite: bite.plant.__name__)
async def test_a_bug_planted_on_postgresql_is_found(databases, bite, monkeypatch):
    monkeypatch.setitem(s.plants_in_use, "now", bite.plant)
    with bite.plant(), pytest.raises(AssertionError, match=f"^{bite.finding}: "):
        await bite.scenario(*databases)
