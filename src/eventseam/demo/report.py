"""What happened, as one value: the fields of `--report`, and the checks by which the demo succeeds or fails.

Everything is read from the databases and the outside, so that it covers all runs of a demo that was killed and resumed.
Decimals are strings in JSON; seconds are rounded to the millisecond.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from eventseam.demo.audit import Findings, audit
from eventseam.demo.shop.analytics.reading import revenue_by_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eventseam.demo.data import Order
    from eventseam.demo.look import Look, Looks
    from eventseam.demo.outside import Outage, Outside


class OrdersPart(Struct, frozen=True):
    """The orders of the event-driven shop."""

    offered: int
    accepted: int
    confirmed: int
    rejected_items_unavailable: int
    rejected_payment_failed: int


class SynchronousPart(Struct, frozen=True):
    """The same orders in the chain. `failed` customers got an error; `revenue_failed` is what they would have paid."""

    offered: int
    accepted: int
    failed: int
    confirmed: int
    rejected_items_unavailable: int
    rejected_payment_failed: int
    revenue: Decimal
    revenue_failed: Decimal


class OutagePart(Struct, frozen=True):
    """`recovered_after_seconds`: from its end until every order that was accepted during it was decided."""

    seconds: float
    lasted_seconds: float
    accepted_during: int
    recovered_after_seconds: float


class EventsPart(Struct, frozen=True):
    """Published is what the journal holds, handled what the services' tables hold; the last three are the audit's."""

    published: int
    handled: int
    retries: int
    duplicates_absorbed: int
    dead_letters: int
    lost: int
    duplicated: int
    out_of_order: int


class ReadModelPart(Struct, frozen=True):
    """What analytics knows: confirmed orders only, by the customer's state."""

    revenue: Decimal
    revenue_by_state: dict[str, Decimal]


class Report(Struct, frozen=True):
    """The report. A shop that was not run is null; the demo succeeds if every check is true."""

    orders: OrdersPart | None
    synchronous: SynchronousPart | None
    outage: OutagePart
    events: EventsPart | None
    read_model: ReadModelPart | None
    checks: dict[str, bool]

    @property
    def is_good(self) -> bool:
        """Whether every check holds."""
        return all(self.checks.values())


class Decided(NamedTuple):
    """One row of the orders' own table."""

    order_id: str
    status: str
    accepted_at: str
    decided_at: str | None


def of_chain(orders: Sequence[Order], outside: Outside) -> tuple[SynchronousPart, dict[str, bool]]:
    """What the chain's customers were told."""
    answers = outside.answers()
    told = Counter(answers.values())

    def amount(answer: str) -> Decimal:
        return _sum(order for order in orders if answers.get(order.place.order_id) == answer)

    failed = told["failed"]
    part = SynchronousPart(
        told.total(),
        told.total() - failed,
        failed,
        told["confirmed"],
        told["items unavailable"],
        told["payment failed"],
        amount("confirmed"),
        amount("failed"),
    )
    right = all(answers.get(order.place.order_id) in (order.outcome, "failed") for order in orders)
    return part, {"the chain answered or failed every customer": right and told.total() == len(orders)}


class EventsReport(NamedTuple):
    """The parts of the report that come from the event-driven shop."""

    orders: OrdersPart
    outage: OutagePart
    events: EventsPart
    read_model: ReadModelPart
    checks: dict[str, bool]


def of_events(orders: Sequence[Order], shop: Looks, outside: Outside, seconds: float) -> EventsReport:
    """What the tables of the event-driven shop say."""
    rows = [
        Decided(*row)
        for row in shop.of["orders"].execute("SELECT order_id, status, accepted_at, decided_at FROM orders")
    ]
    status = Counter(row.status for row in rows)
    findings = audit(shop, outside.charged())
    model = _read_model(shop.of["analytics"])
    part = OrdersPart(
        len(orders), len(rows), status["confirmed"], status["items unavailable"], status["payment failed"]
    )
    checks = {
        "every order that was offered is accepted": {row.order_id for row in rows}
        == {o.place.order_id for o in orders},
        "every outcome is what the rules say": {row[:2] for row in rows}
        == {(o.place.order_id, o.outcome) for o in orders},
        "the read model is the sum of the confirmed orders": model == _model_by_the_rules(orders),
        "items are set aside for confirmed orders only": _reserved(shop.of["inventory"])
        == _reserved_by_the_rules(orders),
        "the audit finds nothing lost, duplicated or out of order": findings.is_clean,
        "nothing is pending, and only poison is dead": pending(shop) == 0,
    }
    return EventsReport(part, _outage(rows, outside.outage(), seconds), _events(shop, outside, findings), model, checks)


def _events(shop: Looks, outside: Outside, findings: Findings) -> EventsPart:
    retries, duplicates = outside.counts()
    return EventsPart(
        shop.count("SELECT count(*) FROM event_outbox WHERE aggregate_type NOT LIKE '%.dlq'"),
        findings.handled,
        retries,
        duplicates,
        shop.count("SELECT count(*) FROM unsettled WHERE state = 'dead'"),
        findings.lost,
        findings.duplicated,
        findings.out_of_order,
    )


def _outage(rows: Iterable[Decided], outage: Outage | None, seconds: float) -> OutagePart:
    if outage is None or outage.ended_at is None:
        return OutagePart(seconds, 0.0, 0, 0.0)
    during = [row for row in rows if outage.began_at <= _unix(row.accepted_at) < outage.ended_at]
    last = max((_unix(row.decided_at) for row in during if row.decided_at), default=outage.ended_at)
    recovered = max(0.0, last - outage.ended_at)
    return OutagePart(seconds, round(outage.ended_at - outage.began_at, 3), len(during), round(recovered, 3))


def without_events(outside: Outside, seconds: float) -> OutagePart:
    """The outage as the chain alone knows it."""
    return _outage((), outside.outage(), seconds)


def _read_model(shop: Look) -> ReadModelPart:
    by_state = revenue_by_state(shop)
    return ReadModelPart(sum(by_state.values(), Decimal(0)), by_state)


def _model_by_the_rules(orders: Iterable[Order]) -> ReadModelPart:
    by_state: dict[str, Decimal] = {}
    for order in orders:
        if order.outcome == "confirmed":
            by_state[order.place.state] = by_state.get(order.place.state, Decimal(0)) + sum(order.place.payments)
    return ReadModelPart(sum(by_state.values(), Decimal(0)), by_state)


def _reserved(shop: Look) -> dict[str, int]:
    return dict(shop.execute("SELECT product_id, reserved FROM stock WHERE reserved <> 0"))


def _reserved_by_the_rules(orders: Iterable[Order]) -> dict[str, int]:
    confirmed = (order for order in orders if order.outcome == "confirmed")
    return dict(Counter(line.product_id for order in confirmed for line in order.place.lines))


def pending(shop: Looks) -> int:
    """How much is to be tried again or waits, in all services; and what is dead without being poison."""
    return shop.count("SELECT count(*) FROM unsettled WHERE state <> 'dead' OR lane NOT LIKE 'poison-%'")


def _sum(orders: Iterable[Order]) -> Decimal:
    return sum((payment for order in orders for payment in order.place.payments), Decimal(0))


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
