"""A shop of three services small enough to crash at every point, with every kind of handler, and its audit.

The audit compares the journal and the services' tables with what was asked for; it does not believe the engine.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

from eventseam import App, Channel, Ctx, Retry, Seams, Service, Settings, SyncTx, Tx

if TYPE_CHECKING:
    from eventseam.clock import Points
    from tests.teeth.stage import Stage

customer = Channel("customer", key="customer")


@customer.command("order.place")
class Place(Struct, frozen=True):
    customer: str
    order: str


@customer.event("order.placed")
class Placed(Struct, frozen=True):
    customer: str
    order: str


@customer.event("items.reserved")
class Reserved(Struct, frozen=True):
    customer: str
    order: str


@customer.event("order.paid")
class Paid(Struct, frozen=True):
    customer: str
    order: str


TABLES = """
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, customer TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, free INTEGER NOT NULL);
INSERT INTO stock (item, free) VALUES ('shirt', 100) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS log
  (id INTEGER PRIMARY KEY, handler TEXT NOT NULL, customer TEXT NOT NULL, item TEXT NOT NULL);
"""
LOG = "INSERT INTO log (handler, customer, item) VALUES ($1, $2, $3)"
QUICK = Retry(attempts=5, first_seconds=0.01, max_seconds=0.05, jitter=0)

TAKES = {
    "reserve": "order.placed",
    "charge": "items.reserved",
    "book": "items.reserved",
    "confirm": "order.paid",
}
"""Each handler that logs, and the event it handles."""


async def place(command: Place, ctx: Ctx) -> str:
    ctx.write("INSERT INTO orders (id, customer, state) VALUES ($1, $2, 'placed')", command.order, command.customer)
    ctx.publish(Placed(command.customer, command.order))
    return command.order


def reserve(event: Placed, tx: SyncTx) -> None:
    tx.execute("UPDATE stock SET free = free - 1 WHERE item = 'shirt'")
    tx.execute(LOG, "reserve", event.customer, event.order)
    tx.publish(Reserved(event.customer, event.order))


def charge(event: Reserved, ctx: Ctx) -> None:
    if event.order.endswith("1") and ctx.attempt == 1:
        raise ConnectionError("the bank does not answer")
    ctx.write(LOG, "charge", event.customer, event.order)
    ctx.publish(Paid(event.customer, event.order))


async def book(events: list[Reserved], ctx: Ctx) -> None:
    for event in events:
        ctx.write(LOG, "book", event.customer, event.order)


async def confirm(event: Paid, tx: Tx) -> None:
    found = await tx.fetch_one("SELECT state FROM orders WHERE id = $1", event.order)
    assert found is not None, "an order is paid that was never placed"
    await tx.execute("UPDATE orders SET state = state || '+paid' WHERE id = $1", event.order)
    await tx.execute(LOG, "confirm", event.customer, event.order)


@dataclass(frozen=True)
class Run:
    """One run of the shop: (customer, order) pairs that are asked for, and the faults on the way.

    `apart` moves the second handler of a message to a service of its own.
    """

    asked: Sequence[tuple[str, str]]
    points: Points | None = None
    apart: bool = False


def shop(stage: Stage, run: Run) -> App:
    """The shop on a stage's database."""
    orders, stock, payments = Service("orders", tables=TABLES), Service("stock"), Service("payments")
    ledger = Service("ledger")
    orders.handle(Place)(place)
    stock.on_tx(Placed)(reserve)
    payments.on(Reserved, retry=QUICK)(charge)
    (ledger if run.apart else payments).on_batch(Reserved)(book)
    orders.on_tx(Paid)(confirm)
    services = (orders, stock, payments, ledger) if run.apart else (orders, stock, payments)
    settings = Settings(
        database=f"sqlite:///{stage.database}", durability="normal", lease_seconds=0.3, grace_seconds=2.0
    )
    return App(*services, settings=settings, seams=Seams(points=run.points))


async def serve(stage: Stage, run: Run) -> None:
    """Place what is asked for and not in the database yet, each customer's orders in turn; wait for the outcome.

    Notes every answer the moment a caller has it, and whether the shop was still busy after five seconds.
    """
    app = shop(stage, run)
    async with app.running():
        placed = {row[0] for row in stage.rows("SELECT id FROM orders")}

        async def buy(name: str) -> None:
            for who, order in run.asked:
                if who == name and order not in placed:
                    stage.note("answered", await app.call(place, Place(who, order)))

        await asyncio.gather(*(buy(name) for name in sorted({who for who, _ in run.asked})))
        try:
            await app.wait_idle(timeout_seconds=5)
        except TimeoutError:
            stage.note("busy", "after five seconds")


def check_answers(stage: Stage) -> None:
    """What a caller was told is in the database, also right after a crash. Raises AssertionError."""
    kept = {row[0] for row in stage.rows("SELECT id FROM orders")}
    lost = [order for order in stage.noted("answered") if order not in kept]
    assert not lost, f"lost: {lost} were answered, but never committed"


def audit(stage: Stage, asked: Sequence[tuple[str, str]]) -> None:
    """Nothing lost, doubled, invented or out of order. Raises AssertionError that says what and where."""
    check_answers(stage)
    events = stage.rows("SELECT event_type, aggregate_id, payload ->> 'order' FROM event_outbox ORDER BY id")
    log = stage.rows("SELECT handler, customer, item FROM log ORDER BY id")
    for wire in ("order.placed", "items.reserved", "order.paid"):
        compare(f"{wire} in the journal", [row[1:] for row in events if row[0].startswith(wire)], asked)
    for handler, wire in TAKES.items():
        published = [row[1:] for row in events if row[0].startswith(wire)]
        compare(handler, [row[1:] for row in log if row[0] == handler], published)
    left = stage.rows("SELECT handler, lane, state FROM unsettled")
    assert not left, f"lost: still unsettled are {left}"
    free = stage.rows("SELECT free FROM stock")
    assert [(100 - len(asked),)] == free, f"doubled: {len(asked)} orders, but of 100 shirts {free} are left"
    states = stage.rows("SELECT DISTINCT state FROM orders")
    assert [("placed+paid",)] == states, f"doubled: orders are {states}"


def compare(what: str, seen: Sequence[tuple[str, object]], wanted: Sequence[tuple[str, object]]) -> None:
    """Each (key, item) of `wanted` was seen once, and per key in that order. Raises AssertionError."""
    counts = Counter(seen)
    lost = [each for each in wanted if not counts[each]]
    assert not lost, f"lost: {what} misses {lost}"
    doubled = [each for each, count in counts.items() if count > wanted.count(each)]
    assert not doubled, f"doubled: {what} has more than once (or out of nothing) {doubled}"
    for key in sorted({key for key, _ in wanted}):
        order = [item for name, item in seen if name == key]
        right = [item for name, item in wanted if name == key]
        assert right == order, f"out of order: {what} of {key!r} came as {order}, not as {right}"
