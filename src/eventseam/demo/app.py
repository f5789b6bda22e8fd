"""The shop as an app: `eventseam run eventseam.demo.app:create`. Its settings come from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam import App
from eventseam.demo.shop.analytics.service import analytics
from eventseam.demo.shop.email.service import email
from eventseam.demo.shop.inventory.service import inventory
from eventseam.demo.shop.orders.service import orders
from eventseam.demo.shop.payments.service import payments
from eventseam.demo.shop.shipping.service import shipping

if TYPE_CHECKING:
    from eventseam import Probe

SERVICES = (orders, inventory, payments, shipping, email, analytics)


def create(probe: Probe | None = None) -> App:
    """The six services, wired. Raises SettingsError for an environment that cannot be used."""
    return App(*SERVICES, probe=probe)
