"""What the demo and the chain's process tell each other, one JSON document a line."""

from __future__ import annotations

from msgspec import Struct


class Task(Struct, frozen=True):
    """Which orders to offer, how many a second, and where the outside is."""

    outside: str
    rate: float
    data: str | None
    seed: int
    orders: int


class Progress(Struct, frozen=True):
    """What customers were told so far, over all runs."""

    confirmed: int
    items_unavailable: int
    payment_failed: int
    failed: int
    done: bool
