"""A handler's circuit: when its lanes fail alike it is paused and probed, and no message burns an attempt.

Pure: times come in as monotonic seconds, a change gives back a new value. One outage would otherwise turn every message
into a dead letter as soon as its attempts ran out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from eventseam.errors import WiringError

_PROBE_SECONDS_LIMIT = 86_400.0

State = Literal["closed", "open", "probing"]

TRANSITIONS = MappingProxyType(
    {
        ("closed", "tripped"): "open",
        ("open", "probe is due"): "probing",
        ("probing", "succeeded"): "closed",
        ("probing", "failed"): "open",
        ("probing", "proved nothing"): "open",
    }
)
"""Every way a circuit can change; the docs draw it from here."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """When a handler is paused: `failures` different lanes in a row failed with one class of error, none succeeded.

    It is probed with one message after `probe_seconds`, then after twice that, up to `probe_seconds_max`.
    """

    failures: int = 5
    probe_seconds: float = 0.5
    probe_seconds_max: float = 5.0

    def __post_init__(self) -> None:
        """Raise WiringError for numbers that make no circuit."""
        if self.failures < 1 or not 0 < self.probe_seconds <= self.probe_seconds_max <= _PROBE_SECONDS_LIMIT:
            message = f"{self}: failures must be >= 1 and 0 < probe_seconds <= probe_seconds_max <= a day"
            raise WiringError(message)


@dataclass(frozen=True, slots=True)
class CircuitState:
    """Where a handler's circuit stands. `lanes` failed alike with `error` since the last success."""

    state: State = "closed"
    lanes: frozenset[str] = frozenset()
    error: str = ""
    probe_at: float = 0.0
    pause_seconds: float = 0.0

    def after_success(self) -> CircuitState:
        """One attempt succeeded: the circuit is closed and nothing is remembered."""
        return CLOSED

    def after_failure(self, circuit: Circuit, lane: str, error: str, now: float) -> CircuitState:
        """One attempt in `lane` failed with `error` (its class). May trip a closed circuit; reopens a probed one."""
        if self.state == "probing":
            pause = min(self.pause_seconds * 2, circuit.probe_seconds_max)
            return replace(self, state="open", error=error, probe_at=now + pause, pause_seconds=pause)
        if self.state == "open":
            return self
        lanes = self.lanes | {lane} if error == self.error else frozenset({lane})
        if len(lanes) < circuit.failures:
            return replace(self, lanes=lanes, error=error)
        pause = circuit.probe_seconds
        return CircuitState("open", frozenset(), error, now + pause, pause)

    def when_probed(self) -> CircuitState:
        """One message is being tried while the rest waits."""
        return replace(self, state="probing")

    def after_nothing(self, now: float) -> CircuitState:
        """A probe ended without a finding (it came early, could not be read, was dropped): the next one is due."""
        return replace(self, state="open", probe_at=now) if self.state == "probing" else self

    def may_probe(self, now: float) -> bool:
        """Whether the pause of an open circuit is over."""
        return self.state == "open" and now >= self.probe_at


CLOSED = CircuitState()
"""A circuit that has nothing to remember."""
