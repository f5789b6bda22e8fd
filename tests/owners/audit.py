"""What became of the numbers: each key's rows in `seen` against what was drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.support.postgres import query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Verdict(NamedTuple):
    """Numbers lost, applied more than once, and applied before a smaller one of their key."""

    lost: int
    doubled: int
    inverted: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return self == CLEAN


CLEAN = Verdict(0, 0, 0)


def judged(drawn: Mapping[str, int], seen: Iterable[tuple[str, int]]) -> Verdict:
    """Compare what was drawn with what was applied, in order of application."""
    times: dict[tuple[str, int], int] = {}
    newest: dict[str, int] = {}
    inverted = 0
    for key, n in seen:
        times[key, n] = times.get((key, n), 0) + 1
        inverted += times[key, n] == 1 and n < newest.get(key, 0)
        newest[key] = max(n, newest.get(key, 0))
    lost = sum((key, n) not in times for key, last in drawn.items() for n in range(1, last + 1))
    return Verdict(lost, sum(count - 1 for count in times.values()), inverted)


def audit(url: str, drawn: Mapping[str, int]) -> Verdict:
    """Judge what is in the database."""
    return judged(drawn, query(url, "SELECT key, n FROM seen ORDER BY id"))
