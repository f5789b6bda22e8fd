"""The named bounds of an engine."""

from __future__ import annotations

from dataclasses import dataclass

UNROUTED = "unrouted"
"""The handler name under which messages are kept that nothing in the app knows."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Every queue, pool, lease and pause of one service's engine has its bound here."""

    lease_seconds: float = 10.0
    in_flight_max: int = 1_000
    in_flight_slot_min: int = 500
    beyond_max: int = 10_000
    page_max: int = 500
    workers: int = 32
    threads_max: int = 8
    parked_lanes_max: int = 100_000
    due_max: int = 200
    save_position_seconds: float = 1.0
    grace_seconds: float = 10.0
