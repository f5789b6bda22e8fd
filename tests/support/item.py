"""Items as the engine's parts pass them on, for tests of those parts alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from eventseam import Circuit, Envelope, Retry
from eventseam.delivery.handler import Handler
from eventseam.delivery.item import Home, Item
from eventseam.ports.transport import Received

if TYPE_CHECKING:
    from eventseam.delivery.shift import Shift

HANDLER = Handler(
    service="s",
    name="h",
    mode="record",
    takes={},
    decode=lambda _wire, _body: None,
    retry=Retry(),
    circuit=Circuit(),
    timeout_seconds=1,
)


def make_item(key: str, message_id: str, shift: Shift | None = None) -> Item:
    """An item of handler `h` of service `s`, at position 7, with a body that is no text."""
    time = datetime(2024, 1, 1, tzinfo=UTC)
    envelope = Envelope(id=message_id, type="t", source="s", channel="c", key=key, time=time, correlation_id="c")
    return Item(cast("Home", None), HANDLER, Received(7, envelope, b"\xff\0raw"), shift, ("h", key))
