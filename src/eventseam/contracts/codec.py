"""JSON to declared classes and back, behind caps: one codec per message class, built once, the same for all four kinds.

What it writes it can read: NaN and infinity, bodies over the cap and nesting over the cap are refused on both sides.
Unknown fields are tolerated. Times are exact to the microsecond; an offset from UTC is exact to the minute (RFC 3339).
Of a key given twice the last one counts. A `Decimal` is a JSON string, digit for digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from eventseam.contracts.fields import Class, kind_of
from eventseam.contracts.shape import Plan, renamed
from eventseam.contracts.unfit import culprit, is_finite, not_finite
from eventseam.errors import ContractError, TooLarge, Undecodable, WiringError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_ENCODE = msgspec.json.Encoder(decimal_format="string").encode
_SYNTAX = msgspec.json.Decoder(msgspec.Raw)
_SHALLOW_BYTES = 128  # valid JSON of 65 levels has at least two brackets for each
_REASON_CHARACTERS_MAX = 500
_BRACKETS = bytes.maketrans(b"[{]}", b"(())")
_NOT_BRACKETS = bytes(each for each in range(256) if each not in b"[]{}")


@dataclass(frozen=True, slots=True)
class Caps:
    """What is refused with TooLarge before it is decoded: bytes of a body, number and bytes of headers, JSON depth."""

    body_bytes_max: int = 1_048_576
    headers_max: int = 64
    header_bytes_max: int = 8_192
    depth_max: int = 64


DEFAULT_CAPS = Caps()


def checked_body(body: bytes | str, caps: Caps) -> bytes:
    """The body as bytes, within its caps. Looks at the length first, so a body of any size costs nothing to refuse.

    Raises TooLarge, or Undecodable for text that is not Unicode.
    """
    if len(body) > caps.body_bytes_max:
        raise TooLarge(f"body of {len(body):,} bytes; the cap is {caps.body_bytes_max:,}. Send a link to large data.")
    if isinstance(body, str):
        try:
            return checked_body(body.encode(), caps)
        except UnicodeEncodeError as error:
            raise Undecodable(f"the body is text with a lone surrogate at {error.start}") from None
    if body.count(b"{") + body.count(b"[") > caps.depth_max and _deeper(body, caps.depth_max):
        raise TooLarge(f"JSON nested deeper than {caps.depth_max} levels. Flatten it.")
    return body


def _deeper(body: bytes, depth_max: int) -> bool:
    """Whether brackets outside strings nest deeper: strings cut out, then the innermost pairs removed per round."""
    outside = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(depth_max):
        size = len(brackets)
        brackets = brackets.replace(b"()", b"")
        if len(brackets) == size:
            break
    return b"()" in brackets or brackets.count(b"(") > depth_max


class Codec(Generic[T]):
    """Encodes and decodes one message class. Stateless after it is built; safe from every thread.

    Raises WiringError, when built, for a class that JSON cannot carry unambiguously.
    """

    __slots__ = ("_cls", "_dump", "_fields", "_label", "_load", "_numbers", "_read", "_shape", "_written")

    def __init__(self, cls: type[T], label: str, rename: Literal["camel"] | None) -> None:
        """Build for `cls`; `label` is the wire name that errors mention."""
        try:
            plan = Plan(cls, rename)
            self._load: Callable[[bytes], T]
            self._dump: Callable[[T], bytes]
            self._load, self._dump = _pydantic(cls) if kind_of(cls) == "pydantic" else _msgspec(cls, plan)
        except (NameError, TypeError) as error:
            raise WiringError(
                f"{label}: {cls.__name__} cannot be read from JSON: {error}. Declare its types at module level, "
                "build it from one kind of class and JSON's types, and give each member of a union a tag."
            ) from error
        self._cls = cls
        self._label = label
        self._shape = plan.shape
        self._numbers = plan.numbers
        self._fields = plan.numbers[cls]
        self._read = kind_of(cls) != "pydantic"  # msgspec reads no float that is not finite; pydantic reads 1e999
        self._written = self._read and plan.only_decimals

    def encode(self, message: T) -> bytes:
        """The message as JSON. Raises ContractError with the field's path, or TooLarge."""
        try:
            body = self._dump(message)
            if not self._fields or (self._written and b"NaN" not in body and b"Infinity" not in body):
                finite = True  # as Decimals write themselves
            else:
                finite = self._is_finite(message, None)
            if self._shape is not None:
                body = renamed(body, self._shape, inward=False)
        except MemoryError:
            raise
        except Exception as error:
            path = culprit(message, _ENCODE)
            raise ContractError(f"{self._label} cannot be written as JSON: {_reason(error)} - at `{path}`") from error
        if not finite:
            raise ContractError(f"{self._label}: NaN and infinity are not JSON - at `{not_finite(message)}`")
        return body if len(body) <= _SHALLOW_BYTES else checked_body(body, DEFAULT_CAPS)

    def decode(self, body: bytes | str, caps: Caps = DEFAULT_CAPS) -> T:
        """The message in `body`. Raises Undecodable with path and reason, or TooLarge; nothing else."""
        if isinstance(body, bytes) and len(body) <= _SHALLOW_BYTES and caps is DEFAULT_CAPS:
            raw = body  # within all caps
        else:
            raw = checked_body(body, caps)
        try:
            if self._shape is not None:
                raw = renamed(raw, self._shape, inward=True)
            message = self._load(raw)
            if not self._fields or self._is_finite(message, raw if self._read else None):
                return message
            reason = f"NaN and infinity are not JSON - at `{not_finite(message)}`"
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - validators of the user's class may raise anything
            reason = _reason(error)
        raise Undecodable(f"{self._label}: {reason}")

    def _is_finite(self, message: T, body: bytes | None) -> bool:
        """Whether every number is; `body`, where it would show one that is not, spares a walk through nested values."""
        for name in self._fields:
            value: Any = getattr(message, name)
            if value.__class__ is Decimal:
                finite = value.is_finite()
            elif value.__class__ is float:
                finite = math.isfinite(value)
            else:
                finite = (body is not None and not _may_hold_nan(body)) or is_finite(value, self._numbers)
            if not finite:
                return False
        return True


def _may_hold_nan(body: bytes) -> bool:
    """Whether JSON holds text that a Decimal could read as NaN or infinity. Far cheaper than to look at every value."""
    low = body.lower()
    return b"nan" in low or b"inf" in low or b"\\u" in low


def _msgspec(cls: type[T], plan: Plan) -> tuple[Callable[[bytes], T], Callable[[T], bytes]]:
    for each in plan.types:
        if isinstance(msgspec.inspect.type_info(each), msgspec.inspect.CustomType):
            raise TypeError(f"it holds a {each.__qualname__}")
    return msgspec.json.Decoder(cls).decode, _ENCODE


def _pydantic(cls: Class) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    """By the class's own validator and serializer, looked up late: pydantic may build them on first use."""

    def load(raw: bytes) -> object:
        if b"NaN" in raw or b"Infinity" in raw:
            _SYNTAX.decode(raw)  # pydantic reads these literals, JSON has none
        return cls.__pydantic_validator__.validate_json(raw)

    def dump(message: object) -> bytes:
        body: bytes = cls.__pydantic_serializer__.to_json(message, by_alias=True)
        return body

    return load, dump


def _reason(error: Exception) -> str:
    """Why, with the path and without the payload: errors are logged, payloads are not."""
    if isinstance(error, RecursionError):
        return "nested too deep, or an object that contains itself"
    details = getattr(error, "errors", None)
    if not callable(details):
        return (str(error) or type(error).__name__)[:_REASON_CHARACTERS_MAX]
    found: Any = details(include_url=False, include_context=False, include_input=False)
    lines = (f"{each['msg']} - at `{'.'.join(map(str, ('$', *each['loc'])))}`" for each in found[:5])
    return "; ".join(lines)[:_REASON_CHARACTERS_MAX]
