"""The suite bites: each planted adapter fails the scenarios that are named, and each scenario is failed by one."""

from __future__ import annotations

import pytest

from eventseam.testing.conformance import PASSES, SCENARIOS, check
from tests.conformance.memory import memory_stage
from tests.conformance.planted import LOG, PLANTS, QUEUE, planted_stage
from tests.conformance.planted import plant as planted
from tests.conformance.plants import Wrapped

PATIENCE_SECONDS = 1.0
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
CASES = [
    pytest.param(plant, name, words, id=f"{plant.made.__name__}-{name}")
    for plant in PLANTS
    for name, words in plant.fails.items()
]


@pytest.mark.parametrize("plant, name, words", CASES)
async def test_a_planted_adapter_fails(plant, name, words):
    with pytest.raises(Exception, match=words):
        await check(lambda: planted_stage(plant), BY_NAME[name], PATIENCE_SECONDS)


@pytest.mark.parametrize("profile", [LOG, QUEUE])
@pytest.mark.parametrize("part", ["broker", "source", "sink"])
async def test_a_wrapper_that_spoils_nothing_passes(part, profile):
    honest = planted(part, Wrapped, profile)
    for scenario in SCENARIOS:
        lacks = await check(lambda: memory_stage(profile), scenario)
        assert lacks == await check(lambda: planted_stage(honest), scenario)
        assert lacks == PASSES or scenario.features or scenario.shape


def test_every_scenario_is_failed_by_a_planted_adapter():
    named = [name for plant in PLANTS for name in plant.fails]
    assert sorted(BY_NAME) == sorted(set(named))


def test_names_of_scenarios_are_unique():
    assert len(BY_NAME) == len(SCENARIOS)
