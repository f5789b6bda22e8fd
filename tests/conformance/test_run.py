"""What `check` answers, and the table that `matrix` makes of it."""

from __future__ import annotations

import pytest

from eventseam.testing.conformance import PASSES, SCENARIOS, check, matrix
from tests.conformance.memory import MemoryStage, memory_stage

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.parametrize(
    "name, lack",
    [
        ("a_reader_may_begin_now", PASSES),
        ("messages_of_a_key_come_in_the_order_of_their_publishing", "without order"),
        ("a_reader_may_begin_at_a_time", "without times"),
    ],
)
async def test_a_scenario_is_not_asked_of_a_transport_that_does_not_promise_what_it_needs(name, lack):
    assert lack == await check(lambda: memory_stage("sqs-standard"), BY_NAME[name])


async def test_a_scenario_of_queues_is_not_asked_of_a_log():
    assert "a log" == await check(lambda: memory_stage("kafka"), BY_NAME["settling_twice_or_elsewhere_is_harmless"])


async def test_a_fault_that_a_stage_has_not_is_named(monkeypatch):
    monkeypatch.setattr(MemoryStage, "faults", frozenset())
    scenario = BY_NAME["readers_and_publishers_go_on_after_their_connections_broke"]
    assert "no fault cut" == await check(lambda: memory_stage("kafka"), scenario)


async def test_what_a_scenario_has_opened_is_closed():
    stages = []

    class Noted(MemoryStage):
        async def __aenter__(self):
            stages.append(self)
            return self

        async def __aexit__(self, *error):
            assert not self.server.clients

    await check(lambda: Noted("kafka"), BY_NAME["two_readers_each_get_everything"])
    assert 1 == len(stages)


def test_the_matrix_has_a_line_for_each_scenario_that_was_run_and_a_column_for_each_transport():
    results = {"one": {"a_reader_may_begin_now": "passes"}, "other": {"a_reader_may_begin_now": "without order"}}
    assert matrix(results) == "| | one | other |\n|---|---|---|\n| a reader may begin now | passes | without order |\n"
