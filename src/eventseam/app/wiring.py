"""What must hold between services, checked when an App is made; and what their dependencies must have, once built."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

from eventseam.errors import WiringError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eventseam.app.declare import Declaration
    from eventseam.app.service import Service
    from eventseam.contracts.channel import Channel

CONTEXTS = ("Ctx", "Tx", "SyncTx")


def check_services(services: Sequence[Service[Any]]) -> None:
    """Raise WiringError for what services cannot have together, or a channel cannot have.

    That is a name used twice, a command with two handlers, an internal channel in two services, two channels of one
    name that differ, and plain messages of a type that their channel does not have.
    """
    seen: set[str] = set()
    for service in services:
        if service.name in seen:
            raise WiringError(f"Two services are named {service.name!r}. Rename one, or pass the service to App once.")
        seen.add(service.name)
    _check_commands(services)
    _internal_channels(services)
    _check_channels(services)
    _check_plain(services)


def foreign_channels(services: Sequence[Service[Any]], service: Service[Any]) -> frozenset[str]:
    """The internal channels that other services than `service` listen to: it must not publish on them."""
    return frozenset(name for name, owner in _internal_channels(services).items() if owner is not service)


def check_deps(service: Service[Any], deps: object) -> None:
    """Raise WiringError for a handler whose `Ctx[Needs]` asks for something that the built dependencies do not have.

    Reads annotations, and takes a handler whose annotations cannot be resolved as it is: checkers have seen it.
    """
    for each in service.declarations:
        context, needs = _asked(each)
        if needs is object:
            continue
        place = f"{each.place} needs {context}[{needs.__name__}]"
        if deps is None:
            raise WiringError(
                f"{place}; service {service.name!r} has no deps. Pass Service({service.name!r}, deps=...)."
            )
        for name in _lacking(deps, needs):
            found = type(deps).__name__
            raise WiringError(f"{place}; {found} has no {name!r}. Add it to {found}, or narrow the handler.")


def _check_commands(services: Iterable[Service[Any]]) -> None:
    handled: dict[tuple[str, str], tuple[Service[Any], Declaration]] = {}
    for service in services:
        for each in service.declarations:
            if each.kind != "command":
                continue
            known = each.types[0]
            owner, other = handled.setdefault((known.channel.name, known.name), (service, each))
            if other is not each:
                raise WiringError(
                    f"Command {known.name!r} has two handlers: {other.place} in {owner.name!r} and {each.place} in "
                    f"{service.name!r}. A command goes to exactly one: remove one, or publish an event."
                )


def _internal_channels(services: Iterable[Service[Any]]) -> dict[str, Service[Any]]:
    owners: dict[str, Service[Any]] = {}
    for service in services:
        for each in service.declarations:
            for known in each.types:
                if not known.channel.internal:
                    continue
                owner = owners.setdefault(known.channel.name, service)
                if owner is not service:
                    raise WiringError(
                        f"Internal channel {known.channel.name!r} is used by {owner.name!r} and by {each.place} in "
                        f"{service.name!r}. Domain events never leave their service: publish a public event."
                    )
    return owners


def _check_channels(services: Iterable[Service[Any]]) -> None:
    """Two modules may declare one channel each for themselves, but not in different ways: messages travel in one."""
    seen: dict[str, Channel] = {}
    for known in (known for service in services for known in service.message_types()):
        one, other = seen.setdefault(known.channel.name, known.channel), known.channel
        for option in ("internal", "mode", "plain"):
            if getattr(one, option) != getattr(other, option):
                raise WiringError(
                    f"Channel({one.name!r}) is declared twice, with {option}={getattr(one, option)!r} and "
                    f"{option}={getattr(other, option)!r}. Declare it once, or both alike."
                )


def _check_plain(services: Iterable[Service[Any]]) -> None:
    channels = {known.channel for service in services for each in service.declarations for known in each.types}
    for channel in sorted(channels, key=lambda each: each.name):
        wires = [known.wire for known in channel.types]
        if channel.plain is not None and channel.plain not in wires:
            raise WiringError(
                f"Channel({channel.name!r}): plain={channel.plain!r} is no type of it; it has {', '.join(wires)}. Name "
                "the one that plain messages are, as it is written here."
            )


def _asked(each: Declaration) -> tuple[str, type]:
    """The kind of context a handler asks for, and the class of its dependencies (`object` where it does not say)."""
    function = inspect.unwrap(each.function)
    try:
        hints = typing.get_type_hints(function)
        second = list(inspect.signature(function).parameters)[1]
    except (NameError, TypeError, AttributeError, IndexError, SyntaxError):
        return "", object
    hint = hints.get(second)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    context = getattr(origin, "__name__", "")
    if context not in CONTEXTS or not args or args[0] is Any or not isinstance(args[0], type):
        return "", object
    return context, args[0]


def _lacking(deps: object, needs: type) -> list[str]:
    """Which attributes that `needs` declares are missing in `deps`."""
    declared: list[str] = []
    for cls in reversed(needs.__mro__):
        if cls.__module__ in ("builtins", "typing"):
            continue
        declared += [*inspect.get_annotations(cls), *vars(cls)]
    return [name for name in dict.fromkeys(declared) if not name.startswith("_") and not _has(deps, name)]


def _has(deps: object, name: str) -> bool:
    """Whether `deps` has the attribute, without running a property that might do work."""
    missing = object()
    return inspect.getattr_static(deps, name, missing) is not missing or hasattr(deps, name)
