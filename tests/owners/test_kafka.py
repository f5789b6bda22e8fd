"""The same with Kafka: also the broker is killed, and connections are reset, refused and silent. See `weather`."""

from __future__ import annotations

import pytest

from tests.owners.test_owners import cries, performed, verdict_of

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("owners")]


@pytest.mark.parametrize("words", [("--locks", "both"), ("--direct", "--locks", "fence"), ("--locks", "inbox")])
def test_nothing_is_lost_doubled_or_inverted_while_processes_and_the_broker_are_killed(words):
    code, told = performed("--transport", "kafka", "--seconds", "12", *words)
    assert (0, "0/0/0") == (code, verdict_of(told)), told


@pytest.mark.timeout(300)
def test_without_inbox_and_fence_the_audit_cries_at_a_broker_too():
    assert cries("--transport", "kafka", "--seconds", "12", "--direct")
