"""Eventseam: events, commands and handlers that run in one process on SQLite, or as many services, unchanged."""

from __future__ import annotations

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
