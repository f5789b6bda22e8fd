"""A scenario: a sentence that is true of every transport which has what it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from eventseam.ports.transport import Feature
from eventseam.testing.conformance.scene import Scene
from eventseam.testing.conformance.stage import Fault

Shape = Literal["log", "queue"]


class Scenario(NamedTuple):
    """`run` raises AssertionError where the sentence `name` is not true."""

    name: str
    run: Callable[[Scene], Awaitable[None]]
    features: frozenset[Feature]
    faults: frozenset[Fault]
    shape: Shape | None

    @property
    def sentence(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")


def scenario(
    *needs: Feature | Fault, shape: Shape | None = None
) -> Callable[[Callable[[Scene], Awaitable[None]]], Scenario]:
    """Make a scenario of a function, for transports that promise these features, on stages that have these faults."""

    def made(run: Callable[[Scene], Awaitable[None]]) -> Scenario:
        features = frozenset(each for each in needs if isinstance(each, Feature))
        faults = frozenset(each for each in needs if isinstance(each, Fault))
        return Scenario(run.__name__, run, features, faults, shape)

    return made
