"""Every transport passes every scenario that it claims: one line for each."""

from __future__ import annotations

import pytest

from eventseam.testing.conformance import SCENARIOS, check
from eventseam.transports.memory import PROFILES
from tests.conformance.folder import folder_stage
from tests.conformance.memory import memory_stage

TRANSPORTS = {
    "folder": lambda request: folder_stage(request.getfixturevalue("tmp_path") / "broker"),
    **{f"memory: {name}": lambda _, name=name: memory_stage(name) for name in PROFILES},
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_suite(transport, scenario, request):
    await check(lambda: TRANSPORTS[transport](request), scenario)
