"""The tail stands every script, and each reader with a planted bug falls over the one that is named beside it."""

from __future__ import annotations

import pytest

from eventseam.testing.servers import postgres
from tests.tail import plants, scenarios
from tests.tail.rig import Reader, scene_at
from tests.tail.scenarios import SCENARIOS

BITES = (
    (plants.ReadsByNumber, scenarios.a_late_commit_with_a_low_position_is_read, "lost"),
    (plants.ReadsWhatIsOlderThanAllThatRuns, scenarios.an_old_transaction_that_appends_late_hides_nobody, "lost"),
    (plants.ReadsWhatIsOlderThanAllThatRuns, scenarios.a_strangers_open_transaction_delays_nobody, "late"),
    (plants.TracksHoles, scenarios.an_id_that_was_taken_long_ago_is_read, "lost"),
    (plants.EndsEachPageNow, scenarios.the_end_of_a_difference_is_pinned, "lost"),
    (plants.PollsWhereItApplies, scenarios.what_an_apply_appends_is_read, "lost"),
    (plants.MergesTheStepsOfAnEra, scenarios.a_late_commit_of_an_era_that_is_over_is_read, "lost"),
)


def _name(value) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=_name)
async def test_the_tail_stands(scenario, postgres_url):
    async with scene_at(postgres_url) as scene:
        await scenario(scene, Reader)


@pytest.mark.parametrize("plant, scenario, finding", BITES, ids=_name)
async def test_a_planted_bug_is_found(plant, scenario, finding, postgres_url):
    async with scene_at(postgres_url) as scene:
        with pytest.raises(AssertionError, match=rf"^{finding}: "):
            await scenario(scene, plant)


async def test_a_cursor_from_before_a_crash_is_loaded_again_and_one_that_is_kept_loses():
    with postgres(settings={"wal_writer_delay": "10s", "fsync": "off"}) as server:
        await scenarios.a_cursor_from_before_a_crash_is_not_used(server, Reader)
        with pytest.raises(AssertionError, match=r"^lost: "):
            await scenarios.a_cursor_from_before_a_crash_is_not_used(server, plants.KeepsItsCursor)


def test_every_scenario_bites_and_every_plant_is_bitten():
    assert set(SCENARIOS) == {scenario for _, scenario, _ in BITES}
    readers = {value for value in vars(plants).values() if isinstance(value, type) and issubclass(value, Reader)}
    assert readers - {Reader, plants.KeepsItsCursor} == {plant for plant, _, _ in BITES}
