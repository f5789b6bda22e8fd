"""A declared message type: its wire name, its codec, its key and its link to details.

The declaration lives on the class itself; there is no global registry, and a subclass is not declared by its parent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote
from uuid import UUID

from eventseam.contracts.codec import DEFAULT_CAPS, Caps, Codec
from eventseam.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventseam.contracts.channel import Channel

T = TypeVar("T")

KEY_BYTES_MAX = 512
LINK_BYTES_MAX = 1_024
_MARK = "__eventseam__"
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Declared(NamedTuple):
    """What a channel says of a class when it declares it."""

    name: str
    version: int
    kind: Literal["event", "command"]
    details: str | None = None


class MessageType(Generic[T]):
    """One version of an event or a command. Made by `Channel.event` and `Channel.command` only.

    `wire` is the name for version 1 and `name.vN` for later ones. `successor` is the next version and the function
    that leads there, set by `upcast`; everything else never changes. Safe from every thread.
    """

    __slots__ = ("_codec", "_key", "channel", "cls", "details", "kind", "name", "successor", "version", "wire")

    def __init__(self, declared: Declared, channel: Channel, cls: type[T]) -> None:
        """Bind a class to its channel. The codec is built on first use, when all annotations can be resolved."""
        self.name = declared.name
        self.version = declared.version
        self.kind = declared.kind
        self.details = declared.details
        self.wire = self.name if self.version == 1 else f"{self.name}.v{self.version}"
        self.channel = channel
        self.cls = cls
        self.successor: tuple[type[Any], Callable[[Any], Any]] | None = None
        self._key = channel.key
        self._codec: Codec[T] | None = None

    def __repr__(self) -> str:
        return f"MessageType({self.wire!r}, {self.cls.__qualname__})"

    @property
    def codec(self) -> Codec[T]:
        """The class's one codec. Raises WiringError if JSON cannot carry the class."""
        codec = self._codec
        if codec is None:
            codec = self._codec = Codec(self.cls, self.wire, self.channel.rename)
        return codec

    def encode(self, message: T) -> bytes:
        """The message as JSON. Raises ContractError naming the field that JSON cannot carry, or TooLarge."""
        if message.__class__ is not self.cls:
            raise ContractError(f"{self.wire} is a {self.cls.__name__}, not a {type(message).__name__}.")
        return (self._codec or self.codec).encode(message)

    def decode(self, body: bytes | str, caps: Caps = DEFAULT_CAPS) -> T:
        """The message in `body`, of this class and no other. Raises Undecodable with path and reason, or TooLarge."""
        return (self._codec or self.codec).decode(body, caps)

    def key_of(self, message: T) -> str:
        """The message's key as text: what orders it. Raises ContractError if it has none that can travel."""
        key: object = getattr(message, self._key)
        if key.__class__ is not str:
            key = self._as_text(key)
        assert isinstance(key, str)
        if key and key.isascii() and key.isprintable() and len(key) <= KEY_BYTES_MAX:
            return key
        return self._checked(key, f"key '{self._key}'", KEY_BYTES_MAX)

    def details_of(self, message: T) -> str | None:
        """A notification's link to its details, field values percent-encoded; None for all other messages."""
        if self.details is None:
            return None
        link = re.sub(r"\{(\w+)}", lambda field: quote(str(getattr(message, field[1])), safe=""), self.details)
        return self._checked(link, "details", LINK_BYTES_MAX)

    def _as_text(self, key: object) -> str:
        if isinstance(key, str):  # an enum of strings is its value
            return str.__str__(key)
        if isinstance(key, int | UUID) and not isinstance(key, bool):
            return str(int(key)) if isinstance(key, int) else str(key)
        if key is None:
            return ""
        raise ContractError(
            f"{self.wire}: key '{self._key}' is a {type(key).__name__}; make it a str, an int or a UUID."
        )

    def _checked(self, text: str, what: str, bytes_max: int) -> str:
        if not text:
            raise ContractError(
                f"{self.wire}: {what} is empty. Every message of channel '{self.channel.name}' needs one."
            )
        flaw = flaw_of(text, bytes_max)
        if flaw:
            raise ContractError(f"{self.wire}: {what} {flaw}.")
        return text


def flaw_of(text: str, bytes_max: int) -> str | None:
    """Why a text cannot travel as an attribute or a header, or None: too long in UTF-8, or unprintable."""
    if len(text) > bytes_max or (not text.isascii() and len(text.encode("utf-8", "replace")) > bytes_max):
        return f"is longer than {bytes_max:,} bytes"
    if not text.isprintable() and _UNPRINTABLE.search(text):
        return "has control characters or lone surrogates"
    return None


def declare(declared: Declared, channel: Channel, cls: type[T]) -> MessageType[T]:
    """Mark `cls` as this message type of this channel."""
    message = MessageType(declared, channel, cls)
    setattr(cls, _MARK, message)
    return message


def declared_type(cls: type[T]) -> MessageType[T] | None:
    """The message type that `cls` itself was declared as, or None."""
    return getattr(cls, "__dict__", {}).get(_MARK)


def message_type(cls: type[T]) -> MessageType[T]:
    """The message type that `cls` itself was declared as. Raises ContractError with the fix if it was not."""
    found = declared_type(cls)
    if found is None:
        name = getattr(cls, "__name__", repr(cls))
        raise ContractError(f'{name} is not a declared message. Put @channel.event("...") or .command("...") above it.')
    return found
