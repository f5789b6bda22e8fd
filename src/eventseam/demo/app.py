"""The shop as an app: `eventseam run eventseam.demo.app:create`. Settings come from the environment, unless given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam import App, Settings
from eventseam.demo.shop.analytics.service import analytics
from eventseam.demo.shop.email.service import email
from eventseam.demo.shop.inventory.service import inventory
from eventseam.demo.shop.orders.service import orders
from eventseam.demo.shop.payments.service import payments
from eventseam.demo.shop.shipping.service import shipping

if TYPE_CHECKING:
    from eventseam.ports.probe import Probe


def create(settings: Settings | None = None, probe: Probe | None = None) -> App:
    """The six services, wired. Raises SettingsError for an environment that cannot be used."""
    services = (orders, inventory, payments, shipping, email, analytics)
    return App(*services, settings=settings or Settings.from_env(), probe=probe)
