"""Running scenarios, and writing down what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.testing.conformance import scenarios_faults, scenarios_messages, scenarios_queue, scenarios_reading
from eventseam.testing.conformance.scenario import Scenario
from eventseam.testing.conformance.scene import PATIENCE_SECONDS, Scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventseam.testing.conformance.stage import StageFactory

PASSES = "passes"

SCENARIOS: tuple[Scenario, ...] = tuple(
    each
    for module in (scenarios_messages, scenarios_reading, scenarios_queue, scenarios_faults)
    for each in vars(module).values()
    if isinstance(each, Scenario)
)
"""All of them. A user's whole test is:

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
    def test_my_transport(scenario):
        asyncio.run(check(my_stage, scenario))
"""


async def check(factory: StageFactory, scenario: Scenario, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """Run a scenario on a stage of its own: "passes", or what the transport or its stage lacks for it.

    Raises AssertionError where it is not true, or the error that it has let out. `patience_seconds` is how long
    anything may take that must come.
    """
    async with factory() as stage:
        scene = Scene(stage, patience_seconds)
        try:
            lack = await _lack(scene, scenario)
            if not lack:
                await scenario.run(scene)
        finally:
            await scene.close()
    return lack or PASSES


async def _lack(scene: Scene, scenario: Scenario) -> str:
    broker = await scene.broker()
    lacks = sorted(scenario.features - broker.capabilities.features)
    if lacks:
        return f"without {', '.join(lacks)}"
    if scenario.shape is not None:
        source = broker.source(scene.name("reader"), [scene.name("channel")], scene.slots)
        await source.close()
        if source.shape != scenario.shape:
            return f"a {source.shape}"
    unable = sorted(scenario.faults - scene.stage.faults)
    return f"no fault {', '.join(unable)}" if unable else ""


def matrix(results: Mapping[str, Mapping[str, str]]) -> str:
    """A table in Markdown: a line for each scenario that was run, a column for each transport, what `check` said."""
    names = list(results)
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for scenario in SCENARIOS:
        found = [results[name].get(scenario.name, "") for name in names]
        if any(found):
            lines.append(f"| {scenario.sentence} | {' | '.join(found)} |")
    return "\n".join(lines) + "\n"
