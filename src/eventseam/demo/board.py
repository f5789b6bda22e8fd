"""How both shops are doing, as the view shows it. Counts cover all runs of a resumed demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Counts:
    """One shop's orders. `failed` are customers who got an error instead of an answer."""

    accepted: int = 0
    confirmed: int = 0
    items_unavailable: int = 0
    payment_failed: int = 0
    failed: int = 0

    @property
    def offered(self) -> int:
        """How many customers have come."""
        return self.accepted + self.failed

    @property
    def rejected(self) -> int:
        """How many orders could not be had or paid."""
        return self.items_unavailable + self.payment_failed

    @property
    def undecided(self) -> int:
        """How many accepted orders still wait for their outcome."""
        return self.accepted - self.confirmed - self.rejected


@dataclass(slots=True)
class Board:
    """Everything that the view shows. A shop that is not run is None."""

    total: int
    chain: Counts | None = None
    events: Counts | None = None
    outage: Literal["before", "down", "over"] = "before"
    seconds: float = 0.0

    @property
    def offered(self) -> int:
        """How far the shop is that is furthest."""
        return max((shop.offered for shop in (self.chain, self.events) if shop), default=0)
