"""What an app consists of, as plain data: for `eventseam describe`, docs and tools. Nothing in it is secret."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from eventseam.app.capabilities import described_way
from eventseam.app.settings import Secret, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventseam.app.declare import Declaration
    from eventseam.app.service import Service
    from eventseam.contracts.message import MessageType
    from eventseam.contracts.registry import Registry


def described(services: Iterable[Service[Any]], settings: Settings, registry: Registry) -> dict[str, Any]:
    """Services, messages with their channels, the settings, masked, and what the transport can do.

    Raises SettingsError.
    """
    return {
        "settings": {each.name: _shown(getattr(settings, each.name)) for each in fields(settings)},
        "transport": described_way(settings),
        "services": [_service(service) for service in services],
        "messages": [_message(known) for known in registry.types],
    }


def _shown(value: object) -> object:
    return str(value) if isinstance(value, Secret) else value


def _service(service: Service[Any]) -> dict[str, Any]:
    return {
        "name": service.name,
        "threads_max": service.threads_max,
        "handlers": [_handler(each) for each in service.declarations],
    }


def _handler(each: Declaration) -> dict[str, Any]:
    return {
        "name": each.name,
        "kind": each.kind,
        "mode": each.mode,
        "inline": each.inline,
        "takes": [known.wire for known in each.types],
        "retry": {**asdict(each.options.retry), "never_on": [error.__name__ for error in each.options.retry.never_on]},
        "circuit": asdict(each.options.circuit),
        "timeout_seconds": each.options.timeout_seconds,
        "batch_max": each.options.batch_max,
    }


def _message(known: MessageType[Any]) -> dict[str, Any]:
    channel = known.channel
    return {
        "name": known.name,
        "version": known.version,
        "wire": known.wire,
        "kind": known.kind,
        "class": known.cls.__name__,
        "channel": channel.name,
        "key": channel.key,
        "internal": channel.internal,
        "unordered": channel.unordered,
        "limit": asdict(channel.limit) if channel.limit is not None else None,
        "details": known.details,
    }
