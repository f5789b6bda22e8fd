"""What JSON cannot carry: NaN and infinity, and values of other types. Says where in the message they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

from eventseam.contracts.fields import field_names, kind_of

_DEPTH = 64  # an object that contains itself ends here


def is_finite(value: object, numbers: dict[type, tuple[str, ...]], depth: int = _DEPTH) -> bool:
    """Whether `value` holds no NaN and no infinity. `numbers` names the fields of known classes that can hold one."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Decimal):
        return value.is_finite()
    if value is None or isinstance(value, str | int) or not depth:
        return True
    names = numbers.get(type(value))
    parts = (part for _, part in _parts(value)) if names is None else (getattr(value, name, None) for name in names)
    return all(is_finite(part, numbers, depth - 1) for part in parts)


def not_finite(value: object, path: str = "$", depth: int = _DEPTH) -> str:
    """The path of the first NaN or infinity inside a `value` that is not finite."""
    for step, part in _parts(value) if depth else ():
        if not is_finite(part, {}):
            return not_finite(part, path + step, depth - 1)
    return path


def culprit(value: object, encode: Callable[[Any], bytes], path: str = "$", depth: int = _DEPTH) -> str:
    """The path of the innermost part of `value` that `encode` refuses, when it refuses the whole."""
    for step, part in _parts(value) if depth else ():
        if not _encodes(part, encode):
            return culprit(part, encode, path + step, depth - 1)
    return path


def _encodes(value: object, encode: Callable[[Any], bytes]) -> bool:
    try:
        encode(value)
    except Exception:  # noqa: BLE001 - whatever it is, this is the part
        return False
    return True


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """What a value is made of, each with its step of the path. Keys of a dict are data: not shown."""
    if kind_of(type(value)):
        yield from ((f".{name}", getattr(value, name, None)) for name in field_names(type(value)))
    elif isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        yield from (("[...]", part) for entry in entries.items() for part in entry)
    elif isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray | memoryview):
        yield from ((f"[{at}]", part) for at, part in enumerate(cast("Collection[object]", value)))
