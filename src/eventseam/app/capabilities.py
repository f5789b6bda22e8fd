"""What each way of messages can do, and what a service asks of it that it cannot: refused at start, with the fix."""

from __future__ import annotations

import logging
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from eventseam.app.stores import transport_of
from eventseam.contracts.codec import DEFAULT_CAPS
from eventseam.errors import MissingExtraError, WiringError
from eventseam.ports.transport import Capabilities, Feature

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eventseam.app.service import Service
    from eventseam.app.settings import Settings

_LOG: Final = logging.getLogger("eventseam.app")

_OF_JOURNAL: Final = frozenset(Feature) - {Feature.BLOCKS, Feature.GAPS}  # who drops unread rows by force is noted
_SQLITE: Final = Capabilities(
    features=_OF_JOURNAL,
    durable='the disk, with the effects (`durability="normal"`: the last commits may go with the power)',
    order="per key; within the file that of the commits",
    redelivery="from our own position",
    dedup="not needed: the position moves with the effects",
    age_max="`journal_hours` (168), for what every reader has finished",
    body_bytes_max=DEFAULT_CAPS.body_bytes_max,
)
_POSTGRESQL: Final = _SQLITE._replace(
    features=_OF_JOURNAL | {Feature.BLOCKS},
    durable='the server\'s WAL, with the effects (`durability="normal"`: the last commits may go with the server)',
    order="per key, within a slot",
)
_BUS: Final = _POSTGRESQL._replace(durable="the bus's WAL, before the relay goes on", dedup="our inbox")

OURS: Mapping[str, Capabilities] = MappingProxyType(
    {"journal on SQLite": _SQLITE, "journal on PostgreSQL": _POSTGRESQL, "PostgreSQL as the bus": _BUS}
)
"""What databases can do, as the ways that messages go."""


def name_of(settings: Settings) -> str:
    """The name of the way that messages go: as in `OURS`, or the scheme of a broker."""
    url, is_sqlite = settings.transport_url, settings.database_url.startswith("sqlite:")
    if url.startswith("journal:"):
        return "journal on SQLite" if is_sqlite else "journal on PostgreSQL"
    if url.startswith(("postgresql:", "postgres:")):
        return "PostgreSQL as the bus"
    return url.partition(":")[0].partition("+")[0]


def described_way(settings: Settings) -> dict[str, Any]:
    """The way that messages go and what it can do, as plain data: without a broker's package that is not known."""
    name = name_of(settings)
    try:
        found = OURS[name] if name in OURS else transport_of(settings).CAPABILITIES
    except MissingExtraError:
        return {"name": name, "features": None}
    return {"name": name, **found._asdict(), "features": sorted(found.features)}


def refuse_lacking(services: Iterable[Service[Any]], capabilities: Capabilities) -> None:
    """Raise WiringError for what services need and their transport cannot do."""
    for service in services:
        if isinstance(service.starts, datetime) and Feature.TIMES not in capabilities.features:
            raise WiringError(
                f"Service({service.name!r}, starts=<a time>): this transport cannot begin at a time. Write "
                'starts="now", or "beginning" for the oldest message that it still has for a new reader.'
            )
        if Feature.ORDER not in capabilities.features:
            _refuse_order(service)


def _refuse_order(service: Service[Any]) -> None:
    channels = {known.channel.name: known.channel for known in service.message_types() if not known.channel.internal}
    needed = sorted(name for name, channel in channels.items() if not channel.unordered)
    if needed:
        raise WiringError(
            f"{service.name} handles messages of {', '.join(needed)}, whose keys have an order, and this transport "
            f"keeps none. Choose one that does, or write Channel({needed[0]!r}, ..., unordered=True) if its handlers "
            "can do without."
        )


def warn_of_lateness(service: Service[Any], capabilities: Capabilities) -> None:
    """Say that a reader that is new gets nothing from before, where its service asks for it and the transport cannot.

    No error: "beginning" is what everybody asks for, and where nothing was published before it is kept.
    """
    if service.starts == "beginning" and Feature.LATE not in capabilities.features:
        _LOG.warning(
            "%s is new to this transport, which gives a new reader nothing from before: it begins now. Publish again "
            'what it needs (eventseam republish), or write starts="now" to say that nothing is needed.',
            service.name,
        )
