"""Logs say what happened, to machines and to people, and never a payload, a password or a control character."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime

import pytest

from eventseam.observe.logs import ERROR_CHARS_MAX, JsonLogs, StandardLogs, TextLogs
from eventseam.ports.probe import (
    Applied,
    CircuitChanged,
    HandlerFailed,
    IntakeChanged,
    Orphaned,
    OwnershipChanged,
    StorageTrouble,
)


class NoonClock:
    def now(self):
        return datetime(2026, 1, 2, 12, 0, 0, 5_000, tzinfo=UTC)

    def monotonic(self):
        return 0.0

    async def sleep(self, seconds):
        raise AssertionError(seconds)


APPLIED = Applied("orders", 3, 1, 0, 0, 2, 0.0021)
FAILED = HandlerFailed("payments", "charge", "o-1", "m-1", "c-1", 2, "GatewayDown: no route", "retrying", 3.9)
OBSERVATIONS = [
    (APPLIED, "applied", "info"),
    (Applied("orders", 3, 1, 0, 1, 2, 0.0021), "applied", "warning"),
    (FAILED, "handler_failed", "warning"),
    (CircuitChanged("payments", "charge", "open", "GatewayDown"), "circuit_changed", "warning"),
    (CircuitChanged("payments", "charge", "closed", ""), "circuit_changed", "info"),
    (OwnershipChanged("orders", 0, "owned", "me"), "ownership_changed", "info"),
    (OwnershipChanged("orders", 0, "lost", "you"), "ownership_changed", "warning"),
    (StorageTrouble("disk full", 0.5), "storage_trouble", "warning"),
    (IntakeChanged("orders", True, "in_flight_max"), "intake_changed", "warning"),
    (Orphaned("payments", "charge", 3), "orphaned", "warning"),
]


def logged(observation, **options):
    stream = io.StringIO()
    JsonLogs(stream, clock=NoonClock(), **options).observe(observation)
    return stream.getvalue()


@pytest.mark.parametrize("observation, event, level", OBSERVATIONS)
def test_each_observation_is_one_json_line_with_its_level(observation, event, level):
    line = logged(observation)
    assert (1, "\n") == (line.count("\n"), line[-1])
    fields = json.loads(line)
    assert ["ts", "level", "event"] == list(fields)[:3]
    assert ("2026-01-02T12:00:00.005Z", level, event) == (fields["ts"], fields["level"], fields["event"])


def test_a_failure_is_logged_with_the_ids_to_look_it_up():
    fields = json.loads(logged(FAILED))
    assert ("payments", "charge", "o-1", "m-1", "c-1") == tuple(
        fields[name] for name in ("service", "handler", "key", "message_id", "correlation_id")
    )


@pytest.mark.parametrize("observation, event, level", OBSERVATIONS)
def test_each_observation_is_one_line_of_text(observation, event, level):
    stream = io.StringIO()
    TextLogs(stream, clock=NoonClock()).observe(observation)
    assert 1 == stream.getvalue().count("\n")
    assert stream.getvalue().startswith(f"2026-01-02T12:00:00.005Z {level:<7} ")


def test_orphans_are_logged_with_both_ways_out():
    stream = io.StringIO()
    TextLogs(stream, clock=NoonClock()).observe(Orphaned("payments", "charge", 3))
    for part in (
        "'charge'",
        "3 unsettled",
        'name="charge"',
        "dlq list --state all --service payments --handler charge",
    ):
        assert part in stream.getvalue()


@pytest.mark.parametrize("error", ["\x1b[2J\r\n\x07fake line", "\u202eevil", "\x00", "\udc80"])
def test_control_characters_of_an_error_are_escaped(error):
    observation = StorageTrouble(error, 1.0)
    text = io.StringIO()
    TextLogs(text, clock=NoonClock()).observe(observation)
    for line in (logged(observation), text.getvalue()):
        assert line[:-1].isprintable()


@pytest.mark.parametrize(
    "error",
    [
        "cannot reach postgresql://app:canary-9@db/shop",
        "cannot reach redis://:canary-9@db",
        "cannot reach amqp://app:p@canary-9/x@db:5672/",
        "x" * (ERROR_CHARS_MAX - 30) + " postgresql://app:canary-9" + "y" * 40 + "@db",
        "conninfo: host=db password=canary-9 dbname=shop",
    ],
)
def test_passwords_in_errors_are_masked(error):
    assert "canary-9" not in logged(StorageTrouble(error, 1.0))


def test_a_long_error_is_cut():
    assert ERROR_CHARS_MAX + 1 == len(json.loads(logged(StorageTrouble("x" * 100_000, 1.0)))["error"])


def test_level_warning_leaves_out_what_needs_no_attention():
    assert "" == logged(APPLIED, level="warning")
    assert "" != logged(FAILED, level="warning")


def test_a_closed_stream_does_not_disturb_the_app():
    stream = io.StringIO()
    stream.close()
    JsonLogs(stream, clock=NoonClock()).observe(FAILED)


def test_standard_logs_are_records_of_the_logger_eventseam(caplog):
    with caplog.at_level(logging.INFO, logger="eventseam"):
        StandardLogs().observe(FAILED)
        StandardLogs().observe(APPLIED)
    failed, applied = caplog.records
    assert ("WARNING", "INFO") == (failed.levelname, applied.levelname)
    assert "payments.charge: attempt 2 failed" in failed.getMessage()
    assert ("handler_failed", "c-1") == (failed.eventseam["event"], failed.eventseam["correlation_id"])
