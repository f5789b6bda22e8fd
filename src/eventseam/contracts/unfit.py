"""Which part of a message JSON cannot carry: run only when something is wrong or suspicious, never on the fast path."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

from eventseam.contracts.fields import field_names, kind_of

_DEPTH = 64  # an object that contains itself ends here


def not_finite(value: object, path: str = "$", depth: int = _DEPTH) -> str | None:
    """The path of the first NaN or infinity inside `value`, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, Decimal):
        return None if value.is_finite() else path
    found = (not_finite(part, path + step, depth - 1) for step, part in _parts(value) if depth)
    return next((each for each in found if each is not None), None)


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
