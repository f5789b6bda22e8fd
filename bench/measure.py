"""Measuring: variants of a case take turns, round after round, so that a slow minute of the machine hits all of them.

A value is microseconds per operation unless the case says otherwise; comparisons are made inside a round (paired).
"""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

SLICES = 5
"""What takes microseconds is timed in so many slices, of which the best counts: a busy machine only ever adds time."""


class Timing(NamedTuple):
    """What one round found: the value, and the processor time per operation of this process and of a server, in us."""

    value: float
    cpu_us: float
    server_us: float = 0.0


@dataclass(frozen=True)
class Variant:
    """One way to do the work; `measure` does one round of it. `note` says what it guarantees."""

    name: str
    measure: Callable[[], float | Timing]
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two variants inside one round: how much of `floor`'s speed `ours` reaches, or what it costs more.

    `times` is how many times the cost it is; `value` is `ours` alone, for what must stay below a bound.
    """

    name: str
    ours: str
    floor: str
    kind: Literal["ratio", "difference", "times", "value"] = "ratio"
    must: float | None = None

    def of(self, ours: float, floor: float) -> float:
        """The value of one round."""
        return {"ratio": floor / ours, "difference": ours - floor, "times": ours / floor, "value": ours}[self.kind]

    def is_reached(self, value: float) -> bool | None:
        """Whether the value is what must be reached; None if nothing must."""
        if self.must is None:
            return None
        return value >= self.must if self.kind == "ratio" else value <= self.must


class Fact(NamedTuple):
    """What a case found that is no time: what it is, what it must be, what it was, and whether that is reached."""

    what: str
    must: str
    measured: str
    reached: bool


def no_facts() -> Sequence[Fact]:
    """Of a case that measures times only."""
    return ()


@dataclass(frozen=True)
class Case:
    """What is measured together. `unit` is that of the values; `per` the operation that one value stands for.

    `facts` is asked when all rounds are over.
    """

    name: str
    title: str
    variants: Sequence[Variant]
    comparisons: Sequence[Comparison] = ()
    unit: str = "us"
    per: str = "message"
    facts: Callable[[], Sequence[Fact]] = no_facts


@dataclass(frozen=True)
class Spread:
    """Median, least and most of all rounds."""

    median: float
    least: float
    most: float
    rounds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some rounds."""
        return cls(statistics.median(values), min(values), max(values), list(values))


@dataclass(frozen=True)
class Outcome:
    """A case and what was found: the spreads of variants and comparisons, and of processor times that variants told."""

    case: Case
    variants: dict[str, Spread]
    comparisons: dict[str, Spread]
    cpu_us: dict[str, Spread] = field(default_factory=dict)
    server_us: dict[str, Spread] = field(default_factory=dict)
    facts: Sequence[Fact] = ()


def run(case: Case, rounds: int) -> Outcome:
    """Measure a case. Each round begins with another variant."""
    values: dict[str, list[float]] = {each.name: [] for each in case.variants}
    used: dict[str, list[float]] = {}
    served: dict[str, list[float]] = {}
    for number in range(rounds):
        start = number % len(case.variants)
        for variant in (*case.variants[start:], *case.variants[:start]):
            _tell(f"{case.name}: round {number + 1} of {rounds}, {variant.name}")
            gc.collect()
            found = variant.measure()
            if isinstance(found, Timing):
                used.setdefault(variant.name, []).append(found.cpu_us)
                served.setdefault(variant.name, []).append(found.server_us)
                found = found.value
            values[variant.name].append(found)
    _tell("")
    compared = {each.name: _compared(each, values) for each in case.comparisons}
    return Outcome(case, _spreads(values), compared, _spreads(used), _spreads(served), case.facts())


def _spreads(values: dict[str, list[float]]) -> dict[str, Spread]:
    return {name: Spread.of(found) for name, found in values.items()}


def _tell(line: str) -> None:
    """Where the run is, for a person who watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _compared(comparison: Comparison, values: dict[str, list[float]]) -> Spread:
    pairs = zip(values[comparison.ours], values[comparison.floor], strict=True)
    return Spread.of([comparison.of(ours, floor) for ours, floor in pairs])
