"""Values on their way into PostgreSQL: what users give, in the type that the statement's parameter has.

Both drivers take the same values and store the same: exact text for what a text column is given, ISO text for dates,
times and ids, dicts and lists for JSON. A naive datetime is in UTC. Values of a parameter's own type pass untouched.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON_OIDS: Final = frozenset({114, 3802})
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()


def _interval(value: timedelta) -> str:
    return f"{value.days} day {value.seconds} second {value.microseconds} microsecond"


_TEXTS: Mapping[type, Callable[[Any], str]] = MappingProxyType(
    {
        bool: lambda value: "1" if value else "0",  # valid for a boolean, an integer and a text alike
        int: str,
        float: repr,
        Decimal: str,
        UUID: str,
        datetime: _instant,
        date: date.isoformat,
        time: time.isoformat,
        timedelta: _interval,
        dict: _json,
    }
)


def as_text(value: object) -> object:
    """A value as text that the server reads in whatever type it expects; bytes, None and the unknown as they are."""
    kind = type(value)
    if kind is str or kind is bytes or value is None:
        return value
    text = _TEXTS.get(kind)
    if text is not None:
        return text(value)
    if isinstance(value, enum.Enum):
        return as_text(value.value)
    if isinstance(value, list):
        return array_text(cast("list[object]", value))
    for known, as_known in _TEXTS.items():  # a subclass
        if isinstance(value, known):
            return as_known(value)
    return value


def array_text(values: Sequence[object]) -> str:
    """A list as PostgreSQL writes an array."""
    return "{" + ",".join(_element(value) for value in values) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return array_text(cast("list[object]", value))
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    return f'"{str(as_text(value)).translate(_ESCAPES)}"'


class Fit(NamedTuple):
    """What a parameter's type takes as it is, and how anything else is made to fit; what cannot be is left as it is."""

    native: frozenset[type]
    convert: Callable[[Any], object]

    def column(self, values: list[object]) -> list[object]:
        """The values of one parameter for many rows."""
        if self.native.issuperset(map(type, values)):
            return values
        return [value if type(value) in self.native else self.convert(value) for value in values]


def fit(fits: Sequence[Fit], args: Sequence[object]) -> Sequence[object]:
    """Arguments that a statement's parameters take. Costs 60 ns per argument that fits already."""
    for each, arg in zip(fits, args, strict=False):  # too few or too many are the driver's to refuse
        if type(arg) not in each.native:
            fitting = [a if type(a) in f.native else f.convert(a) for f, a in zip(fits, args, strict=False)]
            return [*fitting, *args[len(fitting) :]]
    return args


def fit_of(oid: int) -> Fit:
    """How to fit values to a parameter of a type."""
    return _fits().get(oid, _ANY)


def _plain(value: object) -> object:
    return value.value if isinstance(value, enum.Enum) else value


def _by(convert: Callable[[Any], object]) -> Callable[[Any], object]:
    """`convert`, after the enum is taken off; what it cannot convert is left for the driver to refuse."""

    def converted(value: object) -> object:
        value = _plain(value)
        try:
            return convert(value)
        except (ValueError, ArithmeticError):
            return value

    return converted


def _to_int(value: object) -> object:
    return int(value) if isinstance(value, str) else value


def _to_float(value: object) -> object:
    return float(value) if isinstance(value, str | Decimal) else value


def _to_bool(value: object) -> object:
    return bool(value) if value in (0, 1) else value


def _to_numeric(value: object) -> object:
    return Decimal(repr(value)) if isinstance(value, float) else value  # the shortest text, not the binary fraction


def _to_instant(value: object) -> object:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.replace(tzinfo=UTC) if isinstance(found, datetime) and found.tzinfo is None else found


def _to_wall(value: object) -> object:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    if isinstance(found, datetime) and found.tzinfo is not None:
        return found.astimezone(UTC).replace(tzinfo=None)
    return found


def _to_date(value: object) -> object:
    found = _to_wall(value)
    return found.date() if isinstance(found, datetime) else found


def _to_time(value: object) -> object:
    return time.fromisoformat(value) if isinstance(value, str) else value


def as_json(value: object) -> object:
    """JSON text for anything but a text, which is taken for JSON, and None, which is NULL."""
    return value if isinstance(value, str) or value is None else _json(value)


_NULL: Final = NoneType
_ANY: Final = Fit(
    frozenset({str, int, float, bool, bytes, list, tuple, dict, Decimal, UUID, datetime, date, timedelta, _NULL}),
    _plain,
)


@cache
def _fits() -> Mapping[int, Fit]:
    """By the number of a built-in type, which never changes."""
    text = Fit(frozenset({str, _NULL}), as_text)
    whole = Fit(frozenset({int, _NULL}), _by(_to_int))
    floating = Fit(frozenset({float, int, _NULL}), _by(_to_float))
    json = Fit(frozenset({str, _NULL}), _by(as_json))
    return {
        **dict.fromkeys((25, 1043, 1042, 19, 18), text),
        **dict.fromkeys((21, 23, 20), whole),
        **dict.fromkeys((700, 701), floating),
        **dict.fromkeys(JSON_OIDS, json),
        1700: Fit(frozenset({Decimal, int, str, _NULL}), _by(_to_numeric)),
        16: Fit(frozenset({bool, _NULL}), _by(_to_bool)),
        2950: Fit(frozenset({UUID, str, _NULL}), _plain),
        1184: Fit(frozenset({_NULL}), _by(_to_instant)),  # a naive datetime would be in the process's own time zone
        1114: Fit(frozenset({_NULL}), _by(_to_wall)),
        1082: Fit(frozenset({date, _NULL}), _by(_to_date)),
        1083: Fit(frozenset({time, _NULL}), _by(_to_time)),
        17: Fit(frozenset({bytes, _NULL}), _plain),
    }


WIDE_OIDS: Final = frozenset(
    {16, 17, 20, 21, 23, 25, 114, 700, 701, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802}
)
"""The types of which an array can stand for a column of values, with nothing lost or changed on the way."""
