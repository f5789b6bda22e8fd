"""The observation port: what the engine tells about itself, as values. Logs, metrics and tests implement it once.

Observations are made per batch, state change or failure, never per successful message. They hold no payloads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):\S*@", re.IGNORECASE)
_SECRET_FIELD = re.compile(r"\b(password|passwd|secret|token|api_?key|sslpassword)=[^\s&;,'\"]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Applied:
    """One transaction of effects was committed."""

    service: str
    handled: int
    duplicates: int
    retrying: int
    dead: int
    published: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HandlerFailed:
    """One attempt of one handler failed. `next_step` says what happens to its message."""

    service: str
    handler: str
    key: str
    message_id: str
    correlation_id: str
    attempt: int
    error: str
    next_step: Literal["retrying", "dead", "circuit"]
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """A handler's circuit went from one state to another."""

    service: str
    handler: str
    state: Literal["closed", "open", "probing"]
    error: str


@dataclass(frozen=True, slots=True)
class OwnershipChanged:
    """Slots of a service's source were taken, lost or are waited for; `owner` is who has them now.

    `slots` are those that are owned from now on; none unless the state is "owned".
    """

    service: str
    slots: tuple[int, ...]
    state: Literal["owned", "waiting", "lost", "released"]
    owner: str


@dataclass(frozen=True, slots=True)
class StorageTrouble:
    """The database or the broker refuses work; the engine holds what it has and tries again in `delay_seconds`.

    `handler` (with its service) is whose work is refused, if it is one handler's.
    """

    error: str
    delay_seconds: float
    handler: str = ""


@dataclass(frozen=True, slots=True)
class IntakeChanged:
    """A service stopped (or resumed) reading because a named bound is reached."""

    service: str
    paused: bool
    bound: str


@dataclass(frozen=True, slots=True)
class Orphaned:
    """At start: a service has unsettled messages of a handler that its code does not have. Nothing will try them."""

    service: str
    handler: str
    count: int


Observation = Applied | HandlerFailed | CircuitChanged | OwnershipChanged | StorageTrouble | IntakeChanged | Orphaned


class Probe(Protocol):
    """A listener. It must not block and must not raise."""

    def observe(self, observation: Observation) -> None:
        """Take note of `observation`."""
        ...


def without_secrets(text: str) -> str:
    """`text` without the passwords of URLs and of `password=…` fields."""
    return _SECRET_FIELD.sub(r"\1=***", _USERINFO.sub(r"\1:***@", text))
