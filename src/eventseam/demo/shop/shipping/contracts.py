"""What shipping says: the channel `shipment`, keyed by order."""

from __future__ import annotations

from msgspec import Struct

from eventseam import Channel

shipment = Channel("shipment", key="order_id")


@shipment.event("shipment.created")
class ShipmentCreated(Struct, frozen=True):
    """A paid order is packed and labelled."""

    order_id: str
    shipment_id: str
