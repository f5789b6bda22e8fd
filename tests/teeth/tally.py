"""One service, one handler, numbered messages: the smallest app in which something can be lost, doubled or overtaken.

A foreign program puts the messages (key, 1..n) into the journal; the handler writes each into `seen`. What happens on
the way is the scenario's `react`, which the handler awaits first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from eventseam import App, Channel, Circuit, Ctx, Retry, Seams, Service, Settings
from tests.teeth.shop import compare
from tests.teeth.stage import Stage

if TYPE_CHECKING:
    from eventseam.clock import Points
    from eventseam.ports.probe import Probe

tally = Channel("tally", key="key")


@tally.event("number.drawn")
class Drawn(Struct, frozen=True):
    key: str
    number: int


TABLES = """
CREATE TABLE IF NOT EXISTS seen (id INTEGER PRIMARY KEY, key TEXT NOT NULL, number INTEGER NOT NULL CHECK (number > 0));
"""
SEEN = "INSERT INTO seen (key, number) VALUES ($1, $2)"
SEEN_IN_OTHER_WORDS = "INSERT INTO seen (number, key) VALUES ($2, $1)"

React = Callable[[Drawn, Ctx], Awaitable[None]]


async def calmly(_event: Drawn, _ctx: Ctx) -> None:
    """Nothing happens."""


async def record(event: Drawn, ctx: Ctx) -> None:
    """One write per message."""
    ctx.write(SEEN, event.key, event.number)


@dataclass(frozen=True)
class Plan:
    """How one process of the tally behaves."""

    react: React = calmly
    write: React = record
    retry: Retry = Retry(attempts=5, first_seconds=0.01, max_seconds=0.05, jitter=0)  # noqa: RUF009 - frozen
    circuit: Circuit = Circuit(failures=100)  # noqa: RUF009 - frozen
    points: Points | None = None
    probe: Probe | None = None


def tallying(stage: Stage, plan: Plan) -> App:
    """The app on a stage's database."""
    service = Service("tally", tables=TABLES)

    @service.on(Drawn, retry=plan.retry, circuit=plan.circuit)
    async def add(event: Drawn, ctx: Ctx) -> None:
        await plan.react(event, ctx)
        await plan.write(event, ctx)

    settings = Settings(
        database=f"sqlite:///{stage.database}", durability="normal", lease_seconds=0.3, grace_seconds=0.2
    )
    return App(service, settings=settings, seams=Seams(points=plan.points), probe=plan.probe)


async def count(stage: Stage, plan: Plan, asked: Sequence[tuple[str, int]] = ()) -> None:
    """Run the app, let a foreign program publish what is asked, and wait for the outcome, or note that it is stuck."""
    app = tallying(stage, plan)
    async with app.running():
        if asked:
            draw(stage, asked)
        await settle(stage, app)


async def settle(stage: Stage, app: App, timeout_seconds: float = 5) -> None:
    """Wait until the app has nothing to do; note it when that takes too long."""
    try:
        await app.wait_idle(timeout_seconds=timeout_seconds)
    except TimeoutError:
        stage.note("stuck", f"after {timeout_seconds:g} seconds")


async def until(has_happened: Callable[[], object]) -> None:
    """Wait for something outside this process."""
    while not has_happened():  # noqa: ASYNC110 - no event of this loop tells it
        await asyncio.sleep(0.01)


def body(key: str, number: int) -> bytes:
    """A message as a foreign program writes it."""
    return msgspec.json.encode({"key": key, "number": number})


def draw(stage: Stage, asked: Sequence[tuple[str, int]]) -> None:
    """Publish these numbers; a number drawn twice is the same message twice."""
    publish(stage, [(key, body(key, number), f"{key}-{number}") for key, number in asked])


def publish(stage: Stage, rows: Sequence[tuple[str, bytes, str]]) -> None:
    """Put (key, body, message id) into the journal as a foreign program does, in one transaction."""
    stage.insert(
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, message_id) "
        "VALUES ('tally', ?, 'number.drawn', CAST(? AS TEXT), ?)",
        rows,
    )


def check_tally(stage: Stage, asked: Sequence[tuple[str, int]]) -> None:
    """Every number that was asked for was seen once, per key in order, and nothing is left over."""
    compare("seen", stage.rows("SELECT key, number FROM seen ORDER BY id"), asked)
    left = stage.rows("SELECT lane, message_id, state FROM unsettled")
    assert not left, f"lost: still unsettled are {left}"
