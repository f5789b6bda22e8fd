"""The six services of the chain. They decide by the same rules as the event-driven ones; only the seams differ.

Orders calls inventory, payments, shipping, email and analytics, one after the other, while its customer waits. If one
of them is down the customer gets an error, and the items that were set aside are given back.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from eventseam.demo.chain.http import Peer, Reply, Route, ServiceDown, serving
from eventseam.demo.shop.inventory.contracts import ItemsReleased, ItemsReserved
from eventseam.demo.shop.inventory.rules import decide as decide_items
from eventseam.demo.shop.orders.contracts import OrderConfirmed, OrderPlaced, OrderRejected, PlaceOrder, Reason
from eventseam.demo.shop.orders.rules import placed
from eventseam.demo.shop.payments.contracts import PaymentFailed, PaymentSucceeded
from eventseam.demo.shop.payments.rules import decide as decide_payment
from eventseam.demo.shop.shipping.contracts import ShipmentCreated

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from eventseam.demo.outside import Outside

OK, REFUSED, DOWN = HTTPStatus.OK, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE

decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders, and the five services that it calls."""

    inventory: Peer
    payments: Peer
    shipping: Peer
    email: Peer
    analytics: Peer

    @property
    def routes(self) -> Mapping[str, Route]:
        """What customers may ask."""
        return {"/place": self.place}

    def place(self, body: bytes) -> Reply:
        """200 OrderConfirmed, 409 OrderRejected, or 503 with the service that is down."""
        try:
            return self._fulfil(placed(decode(body, type=PlaceOrder)))
        except ServiceDown as down:
            return Reply(DOWN, str(down))

    def _fulfil(self, order: OrderPlaced) -> Reply:
        items = self.inventory.post("/reserve", order)
        if items.status == REFUSED:
            return self._reject(order, "items unavailable")
        paid = self._charge(decode(items.body, type=ItemsReserved))
        if paid is None:
            return self._reject(order, "payment failed")
        self.shipping.post("/ship", paid)
        confirmed = OrderConfirmed(order.order_id)
        self.email.post("/confirmed", confirmed)
        self.analytics.post("/earned", order)
        return Reply(OK, confirmed)

    def _charge(self, items: ItemsReserved) -> PaymentSucceeded | None:
        """The payment, or None where it failed. Whatever goes wrong, nothing stays reserved for it."""
        try:
            reply = self.payments.post("/charge", items)
        except ServiceDown:
            self.inventory.post("/release", ItemsReleased(items.order_id))
            raise
        if reply.status == REFUSED:
            self.inventory.post("/release", ItemsReleased(items.order_id))
            return None
        return decode(reply.body, type=PaymentSucceeded)

    def _reject(self, order: OrderPlaced, reason: Reason) -> Reply:
        rejected = OrderRejected(order.order_id, reason)
        self.email.post("/rejected", rejected)
        return Reply(REFUSED, rejected)


def inventory(outside: Outside) -> Mapping[str, Route]:
    """Reserves and releases items."""

    def reserve(body: bytes) -> Reply:
        order = decode(body, type=OrderPlaced)
        outcome = decide_items(order, in_stock=outside.has(order.order_id))
        return Reply(OK if isinstance(outcome, ItemsReserved) else REFUSED, outcome)

    def release(body: bytes) -> Reply:
        return Reply(OK, decode(body, type=ItemsReleased))

    return {"/reserve": reserve, "/release": release}


def payments(outside: Outside) -> Mapping[str, Route]:
    """Charges cards. While the gateway is down, so is this service."""

    def charge(body: bytes) -> Reply:
        items = decode(body, type=ItemsReserved)
        try:
            receipt = _charged(outside, items)
        except ConnectionError as error:
            return Reply(DOWN, str(error))
        outcome = decide_payment(items, receipt)
        return Reply(REFUSED if isinstance(outcome, PaymentFailed) else OK, outcome)

    return {"/charge": charge}


def _charged(outside: Outside, items: ItemsReserved) -> str | None:
    if items.amount is None:
        return None
    return outside.charge(items.order_id, items.amount, f"chain/{items.order_id}")


def shipping() -> Mapping[str, Route]:
    """Makes shipments."""

    def ship(body: bytes) -> Reply:
        paid = decode(body, type=PaymentSucceeded)
        return Reply(OK, ShipmentCreated(paid.order_id, f"shipment-{paid.order_id}"))

    return {"/ship": ship}


def email() -> Mapping[str, Route]:
    """Tells customers what became of their orders."""
    return {
        "/confirmed": lambda body: Reply(OK, decode(body, type=OrderConfirmed)),
        "/rejected": lambda body: Reply(OK, decode(body, type=OrderRejected)),
    }


def analytics() -> Mapping[str, Route]:
    """Listens to what is earned."""
    return {"/earned": lambda body: Reply(OK, decode(body, type=OrderPlaced))}


@contextmanager
def chain(outside: Outside) -> Generator[Peer]:
    """All six services on ports of their own; gives the one that customers call."""
    with ExitStack() as stack:
        routes = (inventory(outside), payments(outside), shipping(), email(), analytics())
        peers = [_started(stack, each) for each in routes]
        yield _started(stack, Orders(*peers).routes, timeout_seconds=10.0)


def _started(stack: ExitStack, routes: Mapping[str, Route], timeout_seconds: float = 2.0) -> Peer:
    peer = Peer(stack.enter_context(serving(routes)), timeout_seconds=timeout_seconds)
    stack.callback(peer.close)
    return peer
