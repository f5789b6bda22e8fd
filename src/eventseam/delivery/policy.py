"""Retry policy as data, and the pure decision what happens to a message after a failed attempt.

Five attempts from one second are over after 15 s, so a 30 s outage would kill every message: the default outlasts
eight minutes. Asking for a step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from eventseam.errors import NotYet, TooLarge, Undecodable, UnknownType, WiringError


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed message is tried again.

    Attempt n + 1 comes `first_seconds * factor ** (n - 1)` after attempt n, at most `max_seconds`, spread by
    `± jitter` (a share of the delay). After `attempts` failed attempts the message is a dead letter. Errors that are
    instances of `never_on` are dead letters at once: trying again could not help.
    """

    attempts: int = 10
    first_seconds: float = 1.0
    max_seconds: float = 300.0
    factor: float = 2.0
    jitter: float = 0.2
    never_on: tuple[type[Exception], ...] = (Undecodable, UnknownType, TooLarge)

    def __post_init__(self) -> None:
        """Raise WiringError for a policy that cannot be followed."""
        if self.attempts < 1 or self.first_seconds <= 0 or self.max_seconds < self.first_seconds:
            message = f"{self}: attempts must be >= 1 and 0 < first_seconds <= max_seconds"
            raise WiringError(message)
        if self.factor < 1 or not 0 <= self.jitter < 1:
            message = f"{self}: factor must be >= 1 and jitter within [0, 1)"
            raise WiringError(message)

    @property
    def seconds_max(self) -> float:
        """The longest pause that this policy asks for; what is put off further was written by a clock that jumped."""
        return self.max_seconds * (1 + self.jitter)

    def delay_seconds(self, attempt: int, chance: float) -> float:
        """The pause after failed attempt number `attempt` (1 is the first); `chance` in [0, 1) places the jitter."""
        exponent = min(attempt - 1, 64)
        delay = min(self.max_seconds, self.first_seconds * self.factor**exponent)
        return delay * (1 + self.jitter * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again after a pause; `attempts` have been burnt so far."""

    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Dead:
    """Give up: a dead letter after `attempts` burnt attempts."""

    attempts: int


Step = RetryIn | Dead


def next_step(retry: Retry, error: BaseException, *, attempts: int, waited_seconds: float, chance: float) -> Step:
    """What follows a failed attempt, `attempts` of which were burnt before it.

    NotYet burns none and waits up to its own deadline, counted in `waited_seconds` since the message first waited.
    """
    if isinstance(error, NotYet):
        if waited_seconds >= error.within_seconds:
            return Dead(attempts)
        growing = 1 + int(waited_seconds / max(retry.first_seconds, 0.001)).bit_length()
        return RetryIn(retry.delay_seconds(growing, chance), attempts)
    burnt = attempts + 1
    if burnt >= retry.attempts or isinstance(error, retry.never_on):
        return Dead(burnt)
    return RetryIn(retry.delay_seconds(burnt, chance), burnt)
