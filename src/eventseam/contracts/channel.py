"""Channels: one aggregate's voice, with one key and hence one order across all of its messages.

A declaration that could not work is refused where it is written, with the fix.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack

from eventseam.contracts.fields import KINDS, field_names, kind_of
from eventseam.contracts.message import Declared, MessageType, declare, declared_type
from eventseam.errors import WiringError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,127}")
_VERSIONED = re.compile(r".*\.v[0-9]+")


@dataclass(frozen=True, slots=True)
class Limit:
    """What a channel's publishers may do: `per_second` messages, `pending_max` messages not yet handled or relayed.

    At the limit a publisher waits up to `wait_seconds`, then gets Overloaded. None means no limit.
    """

    per_second: float | None = None
    pending_max: int | None = None
    wait_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Refuse values that would stop a channel for good."""
        for name in ("per_second", "pending_max", "wait_seconds"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise WiringError(f"Limit({name}={value!r}): it must be greater than 0 and finite.")


class ChannelOptions(TypedDict, total=False):
    """What a channel may be told beside its name and key. Defaults: False, None, None, "structured", None, False."""

    internal: bool
    limit: Limit | None
    rename: Literal["camel"] | None
    mode: Literal["structured", "binary"]
    plain: str | None
    unordered: bool


class Channel:
    """One aggregate's voice. `key` is the field that all its messages have; messages of one key keep their order.

    `internal` channels carry domain events and never leave their service. `rename="camel"` writes orderId for order_id.
    `mode` is how CloudEvents travel: "structured" in one JSON document, "binary" with attributes in headers. `plain` is
    the type, by its name on the wire, for which messages of other programs are taken that are no CloudEvents: without
    it they become dead letters. `unordered=True` says that its handlers can do without the order: only such channels
    may go by a transport that keeps none, and where one keeps it, it is kept all the same.
    """

    __slots__ = ("_types", "internal", "key", "limit", "mode", "name", "plain", "rename", "unordered")

    name: str
    key: str
    internal: bool
    limit: Limit | None
    rename: Literal["camel"] | None
    mode: Literal["structured", "binary"]
    plain: str | None
    unordered: bool

    def __init__(self, name: str, *, key: str, **options: Unpack[ChannelOptions]) -> None:
        """Declare a channel. Raises WiringError for names and options that cannot be used."""
        unknown = ", ".join(sorted(options.keys() - ChannelOptions.__optional_keys__))
        if unknown:
            raise WiringError(
                f"Channel({name!r}): no option {unknown}. It has internal, limit, rename, mode, plain and unordered."
            )
        rename, mode = options.get("rename"), options.get("mode", "structured")
        if not key.isidentifier():
            raise WiringError(f"Channel({name!r}): key {key!r} is no attribute name. Name the field that orders it.")
        if rename not in (None, "camel") or mode not in ("structured", "binary"):
            raise WiringError(f"Channel({name!r}): rename is None or 'camel', mode is 'structured' or 'binary'.")
        self._set("name", _checked_name(name, "channel"))
        self._set("key", key)
        self._set("internal", options.get("internal", False))
        self._set("limit", options.get("limit"))
        self._set("rename", rename)
        self._set("mode", mode)
        self._set("plain", options.get("plain"))
        self._set("unordered", options.get("unordered", False))
        self._set("_types", {})

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Channel '{self.name}' is read only: pass {name} when it is made.")

    def __repr__(self) -> str:
        return f"Channel({self.name!r}, key={self.key!r})"

    @property
    def types(self) -> tuple[MessageType[Any], ...]:
        """All message types declared on this channel, in the order of their declaration."""
        return tuple(self._declared.values())

    def event(self, name: str, *, version: int = 1, details: str | None = None) -> Callable[[type[T]], type[T]]:
        """Declare an event: a fact. With `details`, a notification: `{field}` in the link is filled from the message.

        Raises WiringError if the class lacks the key, is no message class, or the name and version are taken.
        """
        return self._declare(Declared(name, version, "event", details))

    def command(self, name: str, *, version: int = 1) -> Callable[[type[T]], type[T]]:
        """Declare a command: a request to exactly one handler. Raises WiringError as `event` does."""
        return self._declare(Declared(name, version, "command"))

    @property
    def _declared(self) -> dict[tuple[str, int], MessageType[Any]]:
        types: dict[tuple[str, int], MessageType[Any]] = object.__getattribute__(self, "_types")
        return types

    def _declare(self, declared: Declared) -> Callable[[type[T]], type[T]]:
        _check_version(declared)

        def identity(cls: type[T]) -> type[T]:
            self._check(declared, cls)
            self._declared[declared.name, declared.version] = declare(declared, self, cls)
            return cls

        return identity

    def _check(self, declared: Declared, cls: type[Any]) -> None:
        title = f"{getattr(cls, '__name__', cls)!s} as '{declared.name}'"
        if kind_of(cls) is None:
            raise WiringError(f"{title}: it is not {KINDS}. Declare it above @dataclass, or make it one of these.")
        if declared_type(cls) is not None:
            raise WiringError(f"{title}: the class is declared already. Write one class per event or command.")
        taken = self._declared.get((declared.name, declared.version))
        if taken is not None:
            raise WiringError(
                f"{title}: version {declared.version} is {taken.cls.__name__} already. Raise the version."
            )
        names = field_names(cls)
        for needed in (self.key, *_placeholders(declared)):
            if needed not in names:
                raise WiringError(
                    f"{title}: channel '{self.name}' needs field '{needed}'; it has {', '.join(names) or 'none'}. "
                    "Add the field, or use the right channel."
                )


def _checked_name(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise WiringError(
            f"{what} name {name!r}: use a lower-case letter, then up to 127 of a-z, 0-9, '_', '.' and '-'."
        )
    return name


def _check_version(declared: Declared) -> None:
    name, version = _checked_name(declared.name, declared.kind), declared.version
    if _VERSIONED.fullmatch(name):
        raise WiringError(f"{declared.kind} name {name!r} ends in a version. Leave it out and pass version=.")
    if type(version) is not int or not 1 <= version <= 9_999:  # noqa: PLR2004 - said in the message
        raise WiringError(f"'{name}': version is {version!r}; it must be a whole number from 1 to 9,999.")


def _placeholders(declared: Declared) -> list[str]:
    """The fields that a details link names. Only plain `{field}` is allowed."""
    link = declared.details
    if link is None:
        return []
    try:
        parts = list(string.Formatter().parse(link))
    except ValueError as error:
        raise WiringError(f"'{declared.name}': details {link!r}: {error}. Write /orders/{{order_id}}.") from None
    found = [field for _, field, _, _ in parts if field is not None]
    plain = all(field.isidentifier() for field in found) and not any(spec or conv for _, _, spec, conv in parts)
    if not plain or "{{" in link or "}}" in link or not link.isprintable():
        raise WiringError(f"'{declared.name}': details {link!r}: only plain {{field}} placeholders are allowed.")
    return found
