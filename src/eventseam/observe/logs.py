"""Logs: the engine's observations as JSON lines for machines, text for people, or records of the standard `logging`.

Each line carries the time, a level, the event's name, service, handler, message and correlation ids; never a payload.
Passwords in URLs are masked, errors are cut to `ERROR_CHARS_MAX`, and control characters are escaped. There are two
levels: what asks for attention is a warning, everything else is info.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import asdict
from datetime import UTC
from typing import Literal, TextIO, assert_never

from eventseam.clock import Clock, SystemClock
from eventseam.ports.probe import (
    Applied,
    CircuitChanged,
    HandlerFailed,
    IntakeChanged,
    Observation,
    Orphaned,
    OwnershipChanged,
    StorageTrouble,
    without_secrets,
)

Level = Literal["info", "warning"]

ERROR_CHARS_MAX = 1_000
"""An error's text is cut after this many characters: a log line is not where a body belongs."""


class JsonLogs:
    """A probe that writes one JSON object a line: `ts`, `level`, `event`, then the observation's own fields.

    Lines go to `stream` (stderr if none) and are flushed; a stream that is gone is ignored. `level="warning"` leaves
    out the info lines, of which there is one per transaction.
    """

    def __init__(self, stream: TextIO | None = None, *, clock: Clock | None = None, level: Level = "info") -> None:
        """Write to `stream`, with times from `clock`."""
        self._stream = stream or sys.stderr
        self._clock = clock or SystemClock()
        self._level = level

    def observe(self, observation: Observation) -> None:
        """Write its line. Never raises."""
        level = level_of(observation)
        if level == "warning" or self._level == "info":
            _write(self._stream, json_line(observation, level, _timestamp(self._clock)))


class TextLogs:
    """A probe that writes one line of text per observation, for people. Otherwise like `JsonLogs`."""

    def __init__(self, stream: TextIO | None = None, *, clock: Clock | None = None, level: Level = "info") -> None:
        """Write to `stream`, with times from `clock`."""
        self._stream = stream or sys.stderr
        self._clock = clock or SystemClock()
        self._level = level

    def observe(self, observation: Observation) -> None:
        """Write its line. Never raises."""
        level = level_of(observation)
        if level == "warning" or self._level == "info":
            _write(self._stream, f"{_timestamp(self._clock)} {level:<7} {sentence_of(observation)}")


class StandardLogs:
    """A probe for an app that has its own `logging`: records of the logger "eventseam".

    A record's message is the text line; its attribute `eventseam` holds the fields that `JsonLogs` would write.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        """Log to `logger`."""
        self._logger = logger or logging.getLogger("eventseam")

    def observe(self, observation: Observation) -> None:
        """Log it, if its level is enabled."""
        level = logging.WARNING if level_of(observation) == "warning" else logging.INFO
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", sentence_of(observation), extra={"eventseam": fields_of(observation)})


def level_of(observation: Observation) -> Level:
    """Whether an observation asks for attention."""
    match observation:
        case Applied():
            alarming = observation.dead > 0
        case CircuitChanged():
            alarming = observation.state != "closed"
        case OwnershipChanged():
            alarming = observation.state == "lost"
        case IntakeChanged():
            alarming = observation.paused
        case HandlerFailed() | StorageTrouble() | Orphaned():
            alarming = True
        case _:
            assert_never(observation)
    return "warning" if alarming else "info"


def fields_of(observation: Observation) -> dict[str, object]:
    """The event's name (`handler_failed`) and the observation's fields, with its error masked and cut."""
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", type(observation).__name__).lower()
    fields: dict[str, object] = {"event": name, **asdict(observation)}
    if "error" in fields:
        fields["error"] = safe_error(str(fields["error"]))
    return fields


def json_line(observation: Observation, level: Level, timestamp: str) -> str:
    """One JSON object in ASCII: whatever a terminal or a log shipper could trip over is an escape."""
    return json.dumps({"ts": timestamp, "level": level, **fields_of(observation)}, default=str)


def sentence_of(observation: Observation) -> str:
    """An observation as one line for people."""
    match observation:
        case Applied():
            said = _applied(observation)
        case HandlerFailed():
            said = _failed(observation)
        case CircuitChanged(service, handler, state, error):
            said = f"{service}.{handler}: circuit is {state}{': ' + error if error else ''}"
        case OwnershipChanged(service, slots, state, owner):
            which = f"{len(slots)} slot{'s' * (len(slots) != 1)}" if slots else "its slots"
            said = f"{service}: {which} {state}; owner {owner}"
        case StorageTrouble(error, delay, handler):
            said = f"database or broker in trouble, trying {handler or 'it'} again in {delay:.1f} s: {error}"
        case IntakeChanged(service, paused, bound):
            said = f"{service}: reading {'stopped' if paused else 'goes on'} at {bound}"
        case Orphaned():
            said = _orphaned(observation)
        case _:
            assert_never(observation)
    return _visible(safe_error(said))


def safe_error(text: str) -> str:
    """`text` without secrets, and not longer than ERROR_CHARS_MAX."""
    safe = without_secrets(text)  # before the cut: half a URL has no "@" to be known by
    return safe if len(safe) <= ERROR_CHARS_MAX else safe[:ERROR_CHARS_MAX] + "…"


def _applied(seen: Applied) -> str:
    """What one transaction did; counts of zero are left out."""
    counts = {"handled": seen.handled, "published": seen.published, "duplicates": seen.duplicates}
    counts |= {"retrying": seen.retrying, "dead": seen.dead}
    told = ", ".join(f"{number} {name}" for name, number in counts.items() if number or name == "handled")
    return f"{seen.service}: {told} in {seen.seconds * 1000:.1f} ms"


def _failed(seen: HandlerFailed) -> str:
    """What failed, what happens next, and the ids to look it up."""
    after = {
        "retrying": f"retrying in {seen.delay_seconds:.1f} s",
        "dead": "now a dead letter",
        "circuit": "waits for its circuit",
    }
    return (
        f"{seen.service}.{seen.handler}: attempt {seen.attempt} failed, {after[seen.next_step]}: {seen.error} "
        f"[key {seen.key}, message {seen.message_id}, correlation {seen.correlation_id}]"
    )


def _orphaned(seen: Orphaned) -> str:
    """What nothing will try, and both ways out."""
    where = f"--service {seen.service} --handler {seen.handler}"
    return (
        f"{seen.service}: the code has no handler {seen.handler!r}, so {seen.count} unsettled of it will not be tried. "
        f'Name a handler so, with name="{seen.handler}", or see eventseam dlq list --state all {where} '
        "and drop them by id with eventseam dlq discard"
    )


def _visible(text: str) -> str:
    """One line, in which nothing moves the cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _timestamp(clock: Clock) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return clock.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(stream: TextIO, line: str) -> None:
    """One line at once. A probe must not raise: a closed pipe or a full disk under the log is not the app's end."""
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        return
