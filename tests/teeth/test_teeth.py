"""Every guarantee has a defender: the scenarios hold on the honest engine, and each fails on its planted bugs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.teeth import plants
from tests.teeth.__main__ import FOUND
from tests.teeth.table import BITES, SCENARIOS

pytestmark = pytest.mark.timeout(240)  # a sweep takes 15 s on two busy cores; a machine may be busier

ROOT = Path(__file__).parents[2]


def played(*arguments: str) -> tuple[int, str]:
    """Exit code and output of one scenario in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.teeth", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_the_engine_keeps_its_promise(scenario):
    assert (0, "") == played(scenario)


@pytest.mark.parametrize("bite", BITES, ids=lambda bite: f"{bite.plant.__name__}-{bite.scenario.__name__}")
def test_a_planted_bug_is_found(bite):
    code, finding = played(bite.scenario.__name__, bite.plant.__name__)
    assert (FOUND, True) == (code, finding.startswith(f"{bite.finding}: ")), finding


def test_every_plant_has_a_scenario_that_bites():
    planted = {bite.plant.__name__ for bite in BITES}
    known = {name for name, value in vars(plants).items() if getattr(value, "__module__", "") == plants.__name__}
    tools = {"swapped", "reworded", "items_of"}
    assert {name for name in known if not name.startswith("_")} - tools == planted


def test_every_scenario_bites_or_stands_beside_one_that_does():
    biting = {bite.scenario for bite in BITES}
    beside = {
        "a_crash_with_the_inbox_off_changes_nothing",
        "a_crash_with_the_fence_off_changes_nothing",
        "kill_nine_at_any_moment_changes_nothing",
        "a_zombie_changes_nothing",
    }
    assert beside == {scenario.__name__ for scenario in SCENARIOS if scenario not in biting}
