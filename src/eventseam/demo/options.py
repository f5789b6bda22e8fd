"""What the demo was asked to do: the command line as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eventseam.demo.data import Order, load
from eventseam.demo.generate import generate

Only = Literal["events", "chain"]


@dataclass(frozen=True, slots=True)
class Options:
    """See `eventseam demo --help`. `rate` is orders a second; `database` None is a temporary file.

    A `database` or a `transport` may hold a password.
    """

    data: Path | None = None
    outage_seconds: float = 5.0
    database: str | None = field(default=None, repr=False)
    transport: str | None = field(default=None, repr=False)
    outside: Path | None = None
    processes: bool = False
    only: Only | None = None
    resume: bool = False
    poison: int = 0
    rate: float = 200.0
    seed: int = 1
    orders: int = 4049

    def load(self) -> list[Order]:
        """The orders to offer: of the folder, or generated ones. Raises DataError."""
        return load(self.data) if self.data else generate(self.seed, self.orders)
