"""Retry policy as data, and the pure decision what happens to a message after a failed attempt.

Five attempts from one second are over after 15 s, so a 30 s outage would kill every message: the default outlasts
eight minutes. Asking for a step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from eventseam.errors import NotYet, TooLarge, Undecodable, UnknownType, WiringError

ATTEMPTS_LIMIT = 1_000_000
SECONDS_LIMIT = 31_536_000.0
FACTOR_LIMIT = 1_000.0
_EXPONENT_MAX = 64
"""`SECONDS_LIMIT * FACTOR_LIMIT ** _EXPONENT_MAX` is a finite float: no delay can overflow."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed message is tried again.

    Attempt n + 1 comes `first_seconds * factor ** (n - 1)` after attempt n, at most `max_seconds`, spread by
    `± jitter` (a share of the delay). After `attempts` failed attempts the message is a dead letter. Errors that are
    instances of `never_on` are dead letters at once: trying again could not help. Limits: 1,000,000 attempts, a year
    for each pause, a factor of 1,000.
    """

    attempts: int = 10
    first_seconds: float = 1.0
    max_seconds: float = 300.0
    factor: float = 2.0
    jitter: float = 0.2
    never_on: tuple[type[Exception], ...] = (Undecodable, UnknownType, TooLarge)

    def __post_init__(self) -> None:
        """Raise WiringError for a policy that cannot be followed."""
        if not 1 <= self.attempts <= ATTEMPTS_LIMIT:
            raise WiringError(f"{self}: attempts must be within 1 and {ATTEMPTS_LIMIT}")
        if not 0 < self.first_seconds <= self.max_seconds <= SECONDS_LIMIT:
            raise WiringError(f"{self}: it must be 0 < first_seconds <= max_seconds <= {SECONDS_LIMIT:.0f} (a year)")
        if not 1 <= self.factor <= FACTOR_LIMIT or not 0 <= self.jitter < 1:
            raise WiringError(f"{self}: factor must be within 1 and {FACTOR_LIMIT:.0f}, and jitter within [0, 1)")

    @property
    def seconds_max(self) -> float:
        """The longest pause that this policy asks for; what is put off further was written by a clock that jumped."""
        return self.max_seconds * (1 + self.jitter)

    def delay_seconds(self, attempt: int, chance: float) -> float:
        """The pause after failed attempt number `attempt` (1 is the first); `chance` in [0, 1) places the jitter."""
        exponent = min(attempt - 1, _EXPONENT_MAX)
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
