"""The closed registry: the only way from a name on the wire to a class.

Nothing is imported, guessed or cached by what the wire says.
"""

from __future__ import annotations

from bisect import bisect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from eventseam.contracts.cloudevents import STRUCTURED
from eventseam.contracts.codec import DEFAULT_CAPS, Caps
from eventseam.contracts.message import MessageType, message_type
from eventseam.errors import Undecodable, UnknownType, WiringError

if TYPE_CHECKING:
    from collections.abc import Iterable

PLAIN = "plain:"
"""Before a channel's name: the type of its plain messages while the channel does not say which they are."""

_NAME_CHARACTERS_MAX = 128
_NEIGHBOURS = 16  # on either side in the alphabet: a flood of unknown names must not cost a search through all


class Registry:
    """The message types that a service reads, by exact name and version. Complete when built; never grows.

    It holds the given types, the older versions that upcast to them and the newer ones they become. A channel's plain
    messages that came before it said which they are become that type too. Raises WiringError, when built, if one name
    belongs to two channels or a class cannot be read from JSON.
    """

    __slots__ = ("_by_wire", "_direct", "_names", "_newest", "_types", "_wires")

    def __init__(self, types: Iterable[MessageType[Any]]) -> None:
        """Close over `types`."""
        self._by_wire: dict[str, MessageType[Any]] = {}
        for declared in types:
            for each in _versions(declared):
                if self._by_wire.setdefault(each.wire, each) is not each:
                    raise _twice(each, self._by_wire[each.wire])
                _ = each.codec
        self._names = sorted(self._by_wire)
        self._types = tuple(self._by_wire.values())
        self._newest = {each: _newest(each) for each in self._types}
        self._by_wire |= {
            f"{PLAIN}{each.channel.name}": each for each in self._types if each.wire == each.channel.plain
        }
        self._direct = {wire: each.codec.decode for wire, each in self._by_wire.items() if each.successor is None}
        self._wires: dict[MessageType[Any], tuple[str, ...]] = {}
        for wire, each in self._by_wire.items():
            end = self._newest[each]
            self._wires[end] = (*self._wires.get(end, ()), wire)

    @property
    def types(self) -> tuple[MessageType[Any], ...]:
        """All message types, in the order given."""
        return self._types

    def find(self, wire: str) -> MessageType[Any]:
        """The type of exactly this name and version. Raises UnknownType with what is known that comes near."""
        found = self._by_wire.get(wire)
        if found is None:
            raise UnknownType(self._unknown(wire))
        return found

    def decode(self, wire: str, body: bytes | str, caps: Caps = DEFAULT_CAPS) -> object:
        """The message in `body`, decoded as the version that it names, then upcast to the newest.

        Raises UnknownType, Undecodable or TooLarge; nothing else.
        """
        direct = self._direct.get(wire)
        if direct is not None:
            return direct(body, caps)
        declared = self.find(wire)
        message: object = declared.decode(body, caps)
        while declared.successor is not None:
            message = _upcast(declared, message)
            declared = message_type(declared.successor[0])
        return message

    def newest(self, declared: MessageType[Any]) -> MessageType[Any]:
        """The version that a handler sees: the end of the type's chain of upcasts."""
        return self._newest.get(declared) or _newest(declared)

    def wires_for(self, declared: MessageType[Any]) -> tuple[str, ...]:
        """All names on the wire that become this version: what its handler receives. Empty if it has a successor."""
        return self._wires.get(declared, ())

    def _unknown(self, wire: str) -> str:
        if wire.startswith(PLAIN):
            channel = wire.removeprefix(PLAIN)[:_NAME_CHARACTERS_MAX]
            return (
                f"no CloudEvent: neither content type {STRUCTURED} nor header ce_specversion. If it is a plain "
                f"message, write Channel({channel!r}, ..., plain='that.type'), deploy, and run: eventseam dlq redrive"
            )
        wire = wire[:_NAME_CHARACTERS_MAX]
        name, _, version = wire.rpartition(".v")
        base = name if name and version.isdigit() else wire
        if version == "1" and base in self._by_wire:
            return f"no message type {wire!r}: version 1 is written without .v1. Write '{base}'."
        known = ", ".join(str(each.version) for each in self._types if each.name == base)
        if known:
            return f"'{base}' is known in version {known} only; this is {wire!r}. Deploy the code that reads it."
        at = bisect(self._names, base)
        near = get_close_matches(base, self._names[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS], n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "Declare it on a channel that this service reads."
        return f"no message type {wire!r}. {hint}"


def _newest(declared: MessageType[Any]) -> MessageType[Any]:
    while declared.successor is not None:
        declared = message_type(declared.successor[0])
    return declared


def _versions(declared: MessageType[Any]) -> list[MessageType[Any]]:
    """A type and all versions of it that lead to the same end."""
    end = _newest(declared)
    same = [each for each in declared.channel.types if each.name == declared.name and _newest(each) is end]
    return [declared, *(each for each in same if each is not declared)]


def _upcast(declared: MessageType[Any], message: object) -> object:
    assert declared.successor is not None
    new, function = declared.successor
    try:
        result = function(message)
    except MemoryError:
        raise
    except Exception as error:
        raise Undecodable(
            f"{declared.wire}: its upcast to {new.__name__} raised {type(error).__name__}: {error}"
        ) from error
    if result.__class__ is not new:
        raise Undecodable(f"{declared.wire}: its upcast returned a {type(result).__name__}, not a {new.__name__}")
    return result


def _twice(one: MessageType[Any], other: MessageType[Any]) -> WiringError:
    return WiringError(
        f"'{one.wire}' is declared on channel '{one.channel.name}' and on '{other.channel.name}'. Rename one of them."
    )
