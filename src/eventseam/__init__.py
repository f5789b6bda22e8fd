"""Eventseam: events, commands and handlers that run in one process on SQLite, or as many services, unchanged.

Names are loaded when they are first used: a module of contracts does not pay for the engine.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventseam.app.app import App
    from eventseam.app.ctx import Ctx
    from eventseam.app.service import Service
    from eventseam.app.settings import Secret, Settings
    from eventseam.app.tx import SyncTx, Tx
    from eventseam.clock import Clock, Ids, Point, Points, Random, Seams
    from eventseam.contracts.channel import Channel, Limit
    from eventseam.contracts.codec import Caps
    from eventseam.contracts.envelope import Envelope
    from eventseam.contracts.upcast import upcast
    from eventseam.delivery.circuit import Circuit
    from eventseam.delivery.policy import Retry
    from eventseam.errors import (
        ContractError,
        EventseamError,
        Fenced,
        HandlerTimeout,
        LaneParked,
        MissingExtraError,
        NotInTransaction,
        NotYet,
        OutcomeUnknown,
        Overloaded,
        Refused,
        SettingsError,
        StorageError,
        StorageUnavailable,
        TooLarge,
        Undecodable,
        UnknownType,
        WiringError,
    )
    from eventseam.observe.logs import JsonLogs, StandardLogs, TextLogs
    from eventseam.ports.probe import Observation, Probe

__all__ = [
    "App",
    "Caps",
    "Channel",
    "Circuit",
    "Clock",
    "ContractError",
    "Ctx",
    "Envelope",
    "EventseamError",
    "Fenced",
    "HandlerTimeout",
    "Ids",
    "JsonLogs",
    "LaneParked",
    "Limit",
    "MissingExtraError",
    "NotInTransaction",
    "NotYet",
    "Observation",
    "OutcomeUnknown",
    "Overloaded",
    "Point",
    "Points",
    "Probe",
    "Random",
    "Refused",
    "Retry",
    "Seams",
    "Secret",
    "Service",
    "Settings",
    "SettingsError",
    "StandardLogs",
    "StorageError",
    "StorageUnavailable",
    "SyncTx",
    "TextLogs",
    "TooLarge",
    "Tx",
    "Undecodable",
    "UnknownType",
    "WiringError",
    "upcast",
]

_HOMES = MappingProxyType(
    {
        "App": "eventseam.app.app",
        "Caps": "eventseam.contracts.codec",
        "Channel": "eventseam.contracts.channel",
        "Circuit": "eventseam.delivery.circuit",
        "Clock": "eventseam.clock",
        "ContractError": "eventseam.errors",
        "Ctx": "eventseam.app.ctx",
        "Envelope": "eventseam.contracts.envelope",
        "EventseamError": "eventseam.errors",
        "Fenced": "eventseam.errors",
        "HandlerTimeout": "eventseam.errors",
        "Ids": "eventseam.clock",
        "JsonLogs": "eventseam.observe.logs",
        "LaneParked": "eventseam.errors",
        "Limit": "eventseam.contracts.channel",
        "MissingExtraError": "eventseam.errors",
        "NotInTransaction": "eventseam.errors",
        "NotYet": "eventseam.errors",
        "Observation": "eventseam.ports.probe",
        "OutcomeUnknown": "eventseam.errors",
        "Overloaded": "eventseam.errors",
        "Point": "eventseam.clock",
        "Points": "eventseam.clock",
        "Probe": "eventseam.ports.probe",
        "Random": "eventseam.clock",
        "Refused": "eventseam.errors",
        "Retry": "eventseam.delivery.policy",
        "Seams": "eventseam.clock",
        "Secret": "eventseam.app.settings",
        "Service": "eventseam.app.service",
        "Settings": "eventseam.app.settings",
        "SettingsError": "eventseam.errors",
        "StandardLogs": "eventseam.observe.logs",
        "StorageError": "eventseam.errors",
        "StorageUnavailable": "eventseam.errors",
        "SyncTx": "eventseam.app.tx",
        "TextLogs": "eventseam.observe.logs",
        "TooLarge": "eventseam.errors",
        "Tx": "eventseam.app.tx",
        "Undecodable": "eventseam.errors",
        "UnknownType": "eventseam.errors",
        "WiringError": "eventseam.errors",
        "upcast": "eventseam.contracts.upcast",
    }
)
"""Where each public name lives."""

if not TYPE_CHECKING:  # hidden from checkers, which would take every misspelt name for one that exists

    def __getattr__(name: str) -> object:
        """Load a public name, once. Raises AttributeError for any other."""
        from importlib import import_module

        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'eventseam' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value

    def __dir__() -> list[str]:
        """The public names, loaded or not."""
        return sorted({*globals(), *__all__})
