"""Messages, dependencies and services that accepted.py and rejected.py share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from msgspec import Struct

from eventseam.app.service import Service
from eventseam.contracts.channel import Channel

order = Channel("order", key="order_id")
shelf = Channel("shelf", key="sku", internal=True)


@order.command("order.place")
class PlaceOrder(Struct, frozen=True):
    """A command."""

    order_id: str


@order.command("order.confirm")
class ConfirmOrder(Struct, frozen=True):
    """Another command, of the same shape."""

    order_id: str


@order.event("order.placed")
class OrderPlaced(Struct, frozen=True):
    """An event."""

    order_id: str
    email: str


@order.event("order.confirmed")
class OrderConfirmed(Struct, frozen=True):
    """Another event."""

    order_id: str


@order.event("order.rejected")
class OrderRejected(Struct, frozen=True):
    """A third event."""

    order_id: str


@order.event("order.shipped")
class OrderShipped(Struct, frozen=True):
    """A fourth event."""

    order_id: str


@shelf.event("shelf.emptied")
class ShelfEmptied(Struct, frozen=True):
    """A domain event."""

    sku: str


class Gateway:
    """What payments talk to."""

    async def charge(self, order_id: str, *, idempotency_key: str) -> str:
        """Take the money."""
        return f"{order_id} {idempotency_key}"


class HasGateway(Protocol):
    """The part of the dependencies that a handler asks for."""

    @property
    def gateway(self) -> Gateway:
        """The gateway."""
        ...


class HasPrinter(Protocol):
    """What no service here has."""

    @property
    def printer(self) -> str:
        """A printer."""
        ...


class PaymentDeps:
    """What the payments service has."""

    gateway = Gateway()


@asynccontextmanager
async def payment_deps() -> AsyncGenerator[PaymentDeps, None]:
    """Open and close the gateway."""
    yield PaymentDeps()


orders = Service("orders")
payments = Service("payments", deps=payment_deps)
