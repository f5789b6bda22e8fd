"""JSON to declared classes and back, behind caps: one codec per message class, built once, the same for all four kinds.

What it writes it can read: NaN and infinity, bodies over the cap and nesting over the cap are refused on both sides.
Unknown fields are tolerated. Times are exact to the microsecond; an offset from UTC is exact to the minute (RFC 3339).
Of a key given twice the last one counts. A `Decimal` is a JSON string, digit for digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from eventseam.contracts.fields import Class, kind_of
from eventseam.contracts.shape import Plan, renamed
from eventseam.contracts.unfit import culprit, not_finite
from eventseam.errors import ContractError, TooLarge, Undecodable, WiringError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_ENCODE = msgspec.json.Encoder(decimal_format="string").encode
_SYNTAX = msgspec.json.Decoder(msgspec.Raw)
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

    __slots__ = ("_cls", "_decimals", "_dump", "_floats", "_label", "_lax", "_load", "_shape")

    def __init__(self, cls: type[T], label: str, rename: Literal["camel"] | None) -> None:
        """Build for `cls`; `label` is the wire name that errors mention."""
        try:
            plan = Plan(cls, rename)
            self._load: Callable[[bytes], T]
            self._dump: Callable[[T], bytes]
            self._load, self._dump = _pydantic(cls) if kind_of(cls) == "pydantic" else _msgspec(cls)
        except (NameError, TypeError) as error:
            raise WiringError(
                f"{label}: {cls.__name__} cannot be read from JSON: {error}. Declare its types at module level, "
                "and give each member of a union a tag or a class of its own."
            ) from error
        self._cls = cls
        self._label = label
        self._shape = plan.shape
        self._floats = plan.floats
        self._decimals = plan.decimals
        self._lax = plan.floats and kind_of(cls) == "pydantic"  # pydantic makes infinity of 1e999, NaN of "NaN"

    def encode(self, message: T) -> bytes:
        """The message as JSON. Raises ContractError with the field's path, or TooLarge."""
        try:
            body = self._dump(message)
            if self._is_suspicious(body):
                self._refuse_not_finite(message, ContractError)
            if self._shape is not None:
                body = renamed(body, self._shape, inward=False)
        except (MemoryError, ContractError):
            raise
        except Exception as error:
            path = culprit(message, _ENCODE)
            raise ContractError(f"{self._label} cannot be written as JSON: {_reason(error)} - at `{path}`") from error
        return checked_body(body, DEFAULT_CAPS)

    def decode(self, body: bytes | str, caps: Caps = DEFAULT_CAPS) -> T:
        """The message in `body`. Raises Undecodable with path and reason, or TooLarge; nothing else."""
        raw = checked_body(body, caps)
        try:
            if self._shape is not None:
                raw = renamed(raw, self._shape, inward=True)
            message = self._load(raw)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - validators of the user's class may raise anything
            raise Undecodable(f"{self._label}: {_reason(error)}") from None
        if self._lax or (self._decimals and _may_name_nan(raw)):
            self._refuse_not_finite(message, Undecodable)
        return message

    def _is_suspicious(self, body: bytes) -> bool:
        """Whether a NaN may hide in what was written: floats become null, Decimals NaN or Infinity."""
        return (self._floats and b"null" in body) or (self._decimals and (b"NaN" in body or b"Infinity" in body))

    def _refuse_not_finite(self, message: T, error: type[ContractError]) -> None:
        path = not_finite(message)
        if path is not None:
            raise error(f"{self._label}: NaN and infinity are not JSON - at `{path}`")


def _may_name_nan(raw: bytes) -> bool:
    """Whether a string in `raw` may spell a NaN or an infinity, in any case or escaped."""
    lower = raw.lower()
    return b"nan" in lower or b"inf" in lower or b"\\u" in lower


def _msgspec(cls: type[T]) -> tuple[Callable[[bytes], T], Callable[[T], bytes]]:
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
