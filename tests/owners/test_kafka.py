"""The same with Kafka: also the broker is killed, and connections are reset, refused and silent. See `weather`."""

from __future__ import annotations

import re

import pytest

from tests.owners.test_owners import performed

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("owners")]


def verdict(told):
    """Lost, doubled and inverted; a driver whose connection was cut may have its say after that."""
    return re.findall(r"\d+/\d+/\d+$", told, re.MULTILINE)[-1]


@pytest.mark.parametrize("words", [("--locks", "both"), ("--direct", "--locks", "fence"), ("--locks", "inbox")])
def test_nothing_is_lost_doubled_or_inverted_while_processes_and_the_broker_are_killed(words):
    code, told = performed("--transport", "kafka", "--seconds", "12", *words)
    assert (0, "0/0/0") == (code, verdict(told)), told


def test_without_inbox_and_fence_the_audit_cries_at_a_broker_too():
    code, told = performed("--transport", "kafka", "--seconds", "12", "--direct", "--locks", "neither")
    assert 0 == code, told
    assert "0/0/0" != verdict(told)
