"""The seams for time, ids, chance and faults: the only place in Eventseam that asks the machine for any of them.

A simulator or a test passes its own `Seams`; production uses `Seams()`. Nothing is global.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIANT = str.maketrans("0123456789abcdef", "89ab" * 4)

Point = Literal[
    "begin",
    "pre-commit",
    "post-commit",
    "pre-publish",
    "post-publish",
    "pre-settle",
    "post-settle",
    "pre-position",
    "post-position",
    "pre-timer",
    "post-timer",
]
"""The named effect points, in the order of an apply. Spans, logs and fault injection use these names."""


@runtime_checkable
class Clock(Protocol):
    """Wall and monotonic time. Deadlines use the monotonic one; rows use the wall."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards, from an unspecified start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of monotonic time."""
        ...


class Ids(Protocol):
    """Message ids."""

    def new(self) -> str:
        """A new UUIDv7 as 36 characters of text: unique, and nearly in order of creation."""
        ...


class Random(Protocol):
    """Chance, for jitter."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...


class Points(Protocol):
    """What is told of each effect point, for fault injection. Production has none."""

    def at(self, point: Point) -> None:
        """An effect has reached `point`. May raise or end the process."""
        ...


class SystemClock:
    """The machine's clocks and the running loop's sleep."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """`time.monotonic()`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep(seconds)`."""
        from asyncio import sleep

        await sleep(seconds)


class Uuid7Ids:
    """UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then 74 random bits, drawn in blocks of 256 ids.

    Safe from several threads: a block is an iterator, and `next` on it is atomic. Safe after a fork: a block is of one
    process.
    """

    def __init__(self) -> None:
        """Start without a block; the first id draws one."""
        self._block: Iterator[str] = iter(())
        self._head = (0, "")
        self._process = 0

    def new(self) -> str:
        """A new id. Costs under 1 us."""
        if self._process != os.getpid():
            self._block, self._process = iter(()), os.getpid()
        tail = next(self._block, None)
        if tail is None:
            self._block = iter(_random_tails(os.urandom(10 * 256).hex()))
            tail = next(self._block)
        now = time.time_ns() // 1_000_000
        at, head = self._head
        if at != now:
            digits = f"{now:012x}"
            head = f"{digits[:8]}-{digits[8:]}-"
            self._head = (now, head)
        return head + tail


def _random_tails(text: str) -> list[str]:
    """Cut random hex digits into the last three groups of version 7, variant 10 ids."""
    variants = text.translate(_VARIANT)
    starts = range(0, len(text), 20)
    return [
        f"7{text[at + 1 : at + 4]}-{variants[at + 4]}{text[at + 5 : at + 8]}-{text[at + 8 : at + 20]}" for at in starts
    ]


class SystemRandom:
    """The machine's chance."""

    def random(self) -> float:
        """`random.random()`."""
        return random.random()  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True, slots=True)
class Seams:
    """What an app takes from its surroundings: time, ids, chance, and — in tests — faults."""

    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=Uuid7Ids)
    random: Random = field(default_factory=SystemRandom)
    points: Points | None = None

    def at(self, point: Point) -> None:
        """Pass an effect point: nothing in production, a possible fault in a test."""
        if self.points is not None:
            self.points.at(point)


def traceparent(trace_hex: str, span_hex: str) -> str:
    """A W3C trace context of version 00, not sampled, from 32 and 16 hex digits."""
    return f"00-{trace_hex}-{span_hex}-00"
