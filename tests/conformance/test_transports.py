"""Every transport passes every scenario that it claims: one line for each."""

from __future__ import annotations

import pytest

from eventseam.testing.conformance import SCENARIOS, Fault, check
from eventseam.transports.memory import PROFILES
from tests.conformance import page
from tests.conformance.folder import folder_stage
from tests.conformance.journal import journal_stage
from tests.conformance.kafka import kafka_stage, own_kafka_stage
from tests.conformance.memory import memory_stage


def at_kafka(request, scenario):
    is_killed = scenario is not None and Fault.RESTART in scenario.faults
    return own_kafka_stage() if is_killed else kafka_stage(of(request, "kafka_url"))


def of(request, name):
    return request.getfixturevalue(name)


TRANSPORTS = {
    "journal on SQLite": lambda request, _: journal_stage(of(request, "tmp_path") / "journal.db"),
    "journal on PostgreSQL": lambda request, _: journal_stage(of(request, "postgres_url")),
    "PostgreSQL as the bus": lambda request, _: journal_stage(of(request, "postgres_url"), is_bus=True),
    "Kafka": at_kafka,
    **{f"memory: {name}": lambda *_, name=name: memory_stage(name) for name in PROFILES},
    "folder (the example)": lambda request, _: folder_stage(of(request, "tmp_path") / "broker"),
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_transport_does_what_the_page_says(transport, scenario, request, record_property):
    outcome = await check(lambda: TRANSPORTS[transport](request, scenario), scenario)
    for name, text in (("transport", transport), ("scenario", scenario.name), ("outcome", outcome)):
        record_property(name, text)
    assert page.said(transport, scenario.sentence) == outcome, "run: python -m tests.conformance"
