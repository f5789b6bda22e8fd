"""The audit: does every message in the journal have its effect in the services' own tables, once and in order?

It trusts no counter of the engine. `compare` is pure; `audit` reads the two sides from the database and compares them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from eventseam.contracts.message import message_type
from eventseam.demo.shop.inventory.contracts import ItemsReleased, ItemsReserved, ItemsUnavailable
from eventseam.demo.shop.orders.contracts import OrderConfirmed, OrderPlaced, OrderRejected
from eventseam.demo.shop.payments.contracts import PaymentFailed, PaymentSucceeded
from eventseam.demo.shop.shipping.contracts import ShipmentCreated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from eventseam.demo.look import Look, Looks


class Entry(NamedTuple):
    """One row of a journal. Rows of several journals have no order among each other."""

    position: int
    message_id: str
    type: str
    order_id: str
    journal: int = 0


class Effect(NamedTuple):
    """One row that a handler left: for which order, and because of which message."""

    order_id: str
    cause: str


class Findings(NamedTuple):
    """What is wrong. `handled` is how many effects there are."""

    handled: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.duplicated or self.out_of_order)

    def plus(self, other: Findings) -> Findings:
        """Both findings together."""
        return Findings(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Trace(NamedTuple):
    """A table in which handlers leave one row for each message of `types`, in the order in which they handled them.

    Rows without a cause of their own (a batch has many, an accepted order none) are matched `by_order`.
    """

    service: str
    table: str
    types: tuple[type[Any], ...]
    by_order: bool = False


TRACES = (
    Trace("orders", "orders", (OrderPlaced,), by_order=True),
    Trace("orders", "order_decisions", (ShipmentCreated, ItemsUnavailable, ItemsReleased)),
    Trace("inventory", "inventory_decisions", (OrderPlaced, PaymentFailed)),
    Trace("payments", "payments", (ItemsReserved,)),
    Trace("shipping", "shipments", (PaymentSucceeded,)),
    Trace("email", "emails", (OrderPlaced, OrderConfirmed, OrderRejected)),
    Trace("analytics", "sales", (OrderPlaced,), by_order=True),
    Trace("analytics", "earned_sales", (OrderConfirmed,)),
    Trace("analytics", "missed_sales", (OrderRejected,)),
)


def compare(expected: Iterable[Entry], effects: Sequence[Effect], excused: Collection[str] = ()) -> Findings:
    """Compare what the journal says should have happened with what did, in the order in which it did.

    Lost: no effect, and no dead letter (`excused`) that names the message. Duplicated: a second effect of one message,
    or an effect of none. Out of order: an effect after one of the same order that the same journal has later.
    """
    positions = {entry.message_id: (entry.journal, entry.position) for entry in expected}
    times = Counter(effect.cause for effect in effects)
    lost = sum(1 for message_id in positions if message_id not in times and message_id not in excused)
    duplicated = sum(count - (cause in positions) for cause, count in times.items())
    return Findings(len(effects), lost, duplicated, _inversions(positions, effects))


def _inversions(positions: Mapping[str, tuple[int, int]], effects: Iterable[Effect]) -> int:
    newest: dict[tuple[str, int], int] = {}
    inversions = 0
    for order_id, cause in effects:
        journal, position = positions.get(cause, (0, 0))
        last = newest.get((order_id, journal), 0)
        inversions += position < last
        newest[order_id, journal] = max(position, last)
    return inversions


def compare_charges(paid: Iterable[str], charged: Iterable[str]) -> Findings:
    """Compare the orders that were paid with the card gateway's own ledger: each paid order is charged once."""
    want, have = Counter(paid), Counter(charged)
    lost = sum(1 for order_id in want | have if not (want[order_id] and have[order_id]))
    duplicated = sum(count - 1 for count in have.values() if count > 1)
    return Findings(lost=lost, duplicated=duplicated)


def compare_relayed(own: Sequence[Entry], bus: Iterable[Entry]) -> Findings:
    """Compare a service's own journal with what came of it on the bus: everything, in its order.

    A relay may repeat itself after a kill, and inboxes absorb that: of each message the first row counts.
    """
    ids = {entry.message_id for entry in own}
    return compare(own, [Effect(entry.order_id, entry.message_id) for entry in bus if entry.message_id in ids])


def audit(shop: Looks, charged: Iterable[str]) -> Findings:
    """Audit the whole shop: every table of every service, and the orders that the gateway has `charged`.

    With a bus in a database, also that it holds what the services' journals hold, and nothing else. With a broker, an
    effect of what no journal holds is one too many.
    """
    own = [_journal(look, number) for number, look in enumerate(shop.services)]
    journal = _journal(shop.bus) if shop.bus else [entry for each in own for entry in each]
    found = compare_charges((e.order_id for e in journal if e.type == wire(PaymentSucceeded)), charged)
    if shop.bus:
        for each in own:
            found = found.plus(compare_relayed(each, journal)._replace(handled=0))
        invented = {entry.message_id for entry in journal} - {entry.message_id for each in own for entry in each}
        found = found.plus(Findings(duplicated=len(invented)))
    for trace in TRACES:
        wires = {wire(each) for each in trace.types}
        expected = [entry for entry in journal if entry.type in wires]
        look = shop.of[trace.service]
        excused = _excused(look, trace.service, journal)
        found = found.plus(compare(expected, _effects(look, trace, expected), excused))
    return found


JOURNAL = """
SELECT id, CAST(message_id AS TEXT), event_type, aggregate_id FROM event_outbox WHERE aggregate_type NOT LIKE '%.dlq'
ORDER BY id
"""  # copies of dead letters are no events
DEAD = "SELECT message_id FROM unsettled WHERE service = $1 AND state = 'dead'"
SEEN = "SELECT event_id FROM processed_events WHERE service = $1"


def wire(cls: type[Any]) -> str:
    """The name that messages of a class have in the journal."""
    return message_type(cls).wire


def _journal(look: Look, number: int = 0) -> list[Entry]:
    """The first row of each message, in the order in which readers see them."""
    first: dict[str, Entry] = {}
    for row in look.execute(JOURNAL):
        entry = Entry(row[0], row[1], row[2], row[3], number)
        first.setdefault(entry.message_id, entry)
    return list(first.values())


def _excused(look: Look, service: str, journal: Iterable[Entry]) -> set[str]:
    """What needs no effect: dead letters, and poison that somebody has looked at and discarded."""
    dead = {message_id for (message_id,) in look.execute(DEAD, service)}
    poison = {entry.message_id for entry in journal if entry.order_id.startswith("poison-")}
    return dead | (poison & {seen for (seen,) in look.execute(SEEN, service)} if poison else set())


def _effects(look: Look, trace: Trace, expected: Iterable[Entry]) -> list[Effect]:
    if not trace.by_order:
        rows = look.execute(f"SELECT order_id, cause FROM {trace.table} ORDER BY n")  # noqa: S608 - our own table
        return [Effect(*row) for row in rows]
    causes = {entry.order_id: entry.message_id for entry in expected}
    rows = look.execute(f"SELECT order_id FROM {trace.table}")  # noqa: S608 - our own table
    return [Effect(order_id, causes.get(order_id, "")) for (order_id,) in rows]
