"""Running an app on a database with settings that are quick, and seeing what it observes."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from eventseam import App, Seams, Service, Settings
from eventseam.clock import SystemClock
from tests.support.place import tables_for, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from eventseam.ports.probe import Observation
    from tests.support.place import Place

O = TypeVar("O")  # noqa: E741 - an observation

WAIT_SECONDS = 20.0


class Seen:
    """A probe that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.all.append(observation)

    def of(self, kind: type[O]) -> list[O]:
        """The observations of one class, in order."""
        return [each for each in self.all if isinstance(each, kind)]


class MovedClock(SystemClock):
    """The machine's clock, whose wall time a test can move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def jump(self, seconds: float) -> None:
        """Move the wall clock; the monotonic one does not notice."""
        self.ahead += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def quick_settings(place: Place, **changes: Any) -> Settings:
    """Settings for a test: not durable against power loss, short leases, a short grace period."""
    values: dict[str, Any] = {"durability": "normal", "lease_seconds": 2.0, "grace_seconds": 2.0, **changes}
    return Settings(database=url_of(place), **values)


def make_app(place: Place, *services: Service[Any], clock: SystemClock | None = None, **changes: Any) -> App:
    """An app on a database; its probe is a `Seen`. `changes` are settings."""
    seams = Seams(clock=clock) if clock else Seams()
    for service in services:
        service.tables = tables_for(place, service.tables)
    return App(*services, settings=quick_settings(place, **changes), seams=seams, probe=Seen())


@asynccontextmanager
async def running(place: Place, *services: Service[Any], **changes: Any) -> AsyncIterator[App]:
    """An app of `services` that runs inside the block."""
    app = make_app(place, *services, **changes)
    async with app.running():
        yield app


def seen(app: App) -> Seen:
    """The probe of an app made here."""
    assert isinstance(app.probe, Seen)
    return app.probe


async def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    """Return when `condition()` (a value, or something to await) is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.005)
