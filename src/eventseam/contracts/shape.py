"""How a declared type looks as JSON, as far as key names and numbers matter: the plan for `rename` and for NaN.

Renaming follows declared types only: the keys of a `dict` payload are data and stay as they are. It works on raw JSON,
level by level, so that what it does not rename keeps its exact bytes. What could not be renamed exactly is refused.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, cast
from uuid import UUID

import msgspec

from eventseam.contracts.fields import Class, Field, Hint, fields_of, kind_of
from eventseam.errors import WiringError

_FINITE = (str, int, bytes, bytearray, types.NoneType, date, time, timedelta, UUID, Enum)
_OBJECTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAYS = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODE = msgspec.json.Encoder().encode


@dataclass(slots=True, eq=False)
class Shape:
    """One place in the JSON of a declared type. Complete once `Plan` is built; read only afterwards."""

    outward: dict[str, str] = field(default_factory=dict[str, str])  # key as the class writes it -> key on the wire
    inward: dict[str, str] = field(default_factory=dict[str, str])  # key on the wire -> key as the class reads it
    children: dict[str, Shape] = field(default_factory=dict[str, "Shape"])  # by key on the wire
    values: Shape | None = None  # of a dict
    items: Shape | None = None  # of a list, set or open tuple
    row: tuple[Shape | None, ...] = ()  # of a tuple of fixed length


class Plan:
    """What the codec must know of one message class: how to rename its keys, and where its numbers are.

    Raises WiringError where `rename` could not be exact, NameError where an annotation cannot be resolved.
    """

    def __init__(self, cls: type, rename: Literal["camel"] | None) -> None:
        """Read the class's declared types, all the way down."""
        self._rename = rename
        self._classes: dict[type, Shape] = {}
        self._collections: dict[tuple[int, ...], Shape] = {}
        self._unions: list[tuple[Shape, list[Shape], Any]] = []
        self._reach: dict[type, dict[str, set[Hint]]] = {}  # class -> field -> leaves and classes in it
        self._here: set[Hint] = set()
        shape = self._of(cls, {})
        for union in self._unions if rename else ():
            _fill(*union)
        reached = {each for fields in self._reach.values() for found in fields.values() for each in found}
        self.types: set[type] = {cls, *reached}
        self.numbers = _numbers(self._reach)
        self.only_decimals = all(_is_decimal_or_finite(each) for each in self.types - self._reach.keys())
        changed = any(key != wire for each in self._classes.values() for key, wire in each.outward.items())
        self.shape = shape if changed else None

    def _of(self, hint: Hint, names: dict[Any, Hint]) -> Shape | None:
        hint = _bare(hint, names)
        origin, args = _origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return self._of_union(args, hint, names)
        if origin is Literal:
            return None
        if kind_of(origin) or typing.is_typeddict(origin):
            return self._of_class(origin, args)
        if _is_class(origin, tuple):
            return self._of_tuple(origin, args, names)
        if _is_class(origin, Collection) and args:
            return self._of_collection(origin, args, names)
        self._here.add(hint if isinstance(hint, type) else Any)
        return None

    def _of_class(self, cls: Class, args: tuple[Hint, ...]) -> Shape:
        self._here.add(cls)
        if cls in self._classes and not args:
            return self._classes[cls]
        shape = self._classes[cls] = Shape()  # known before its fields are read: types may contain themselves
        reach = self._reach.setdefault(cls, {})
        around = self._here
        names = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
        row: list[Shape | None] = []
        for item in _fields(cls):
            self._here = reach.setdefault(item.name, set())
            row.append(self._of(item.hint, names))
            self._name(shape, item, row[-1], cls)
        self._here = around
        config = getattr(cls, "__struct_config__", None)
        if config is not None and config.array_like:
            shape.outward, shape.inward, shape.children = {}, {}, {}
            shape.row = tuple(row) if config.tag is None else (None, *row)
        return shape

    def _name(self, shape: Shape, item: Field, child: Shape | None, cls: type) -> None:
        wire = _camel(item.written) if self._rename and item.written == item.name else item.written
        if wire in shape.inward:
            raise WiringError(
                f"{cls.__name__}: '{item.name}' and another field are both '{wire}' on the wire. Rename one of them."
            )
        shape.outward[item.written] = wire
        shape.inward[wire] = item.read
        if child is not None:
            shape.children[wire] = child

    def _of_tuple(self, origin: type, args: tuple[Hint, ...], names: dict[Any, Hint]) -> Shape | None:
        if hasattr(origin, "_fields"):
            args = tuple(typing.get_type_hints(origin, include_extras=True).values())
        if not args:
            self._here.add(Any)
        shapes = tuple(self._of(arg, names) for arg in args if arg is not Ellipsis)
        if all(each is None for each in shapes):
            return None
        return self._shared(Shape(items=shapes[0]) if Ellipsis in args else Shape(row=shapes))

    def _of_collection(self, origin: type, args: tuple[Hint, ...], names: dict[Any, Hint]) -> Shape | None:
        inner = [self._of(arg, names) for arg in args][-1]
        if inner is None:
            return None
        return self._shared(Shape(values=inner) if issubclass(origin, Mapping) else Shape(items=inner))

    def _shared(self, shape: Shape) -> Shape:
        """The same object for the same collection of the same class, so that unions can compare by identity."""
        return self._collections.setdefault((id(shape.values), id(shape.items), *map(id, shape.row)), shape)

    def _of_union(self, args: tuple[Hint, ...], hint: Hint, names: dict[Any, Hint]) -> Shape | None:
        found = [shape for arg in args if (shape := self._of(arg, names)) is not None]
        if self._rename and found and any(_is_open(_bare(arg, names)) for arg in args):
            raise _ambiguous(hint)
        if len(found) < 2:  # noqa: PLR2004 - one shape beside None or plain values
            return found[0] if found else None
        merged = Shape()
        self._unions.append((merged, found, hint))  # filled when all classes are complete
        return merged


def _fill(merged: Shape, members: list[Shape], hint: Hint) -> None:
    """Make one shape of several classes: possible where no key of one is another thing in the other."""
    for shape in members:
        clash = [wire for wire, key in shape.inward.items() if merged.inward.get(wire, key) != key]
        clash += [wire for wire, child in shape.children.items() if merged.children.get(wire, child) is not child]
        if clash or shape.values or shape.items or shape.row:
            raise _ambiguous(hint)
        merged.outward.update(shape.outward)
        merged.inward.update(shape.inward)
        merged.children.update(shape.children)


def _is_open(hint: Hint) -> bool:
    """Whether a JSON object of this type has keys that are data."""
    return _origin(hint) in (Any, object) or _is_class(_origin(hint), Mapping)


def _numbers(reach: dict[type, dict[str, set[Hint]]]) -> dict[type, tuple[str, ...]]:
    """The fields of each class that may hold a float or a Decimal, however deep inside."""
    holders: set[Hint] = {
        each
        for fields in reach.values()
        for found in fields.values()
        for each in found
        if each not in reach and not any(_is_class(each, finite) for finite in _FINITE)
    }
    grown = True
    while grown:
        more = {cls for cls, fields in reach.items() if any(found & holders for found in fields.values())}
        grown = not more <= holders
        holders |= more
    return {cls: tuple(name for name, found in reach[cls].items() if found & holders) for cls in reach}


def _is_decimal_or_finite(hint: Hint) -> bool:
    """Whether a leaf can be no float: what it writes of a NaN or an infinity stands in the JSON as text."""
    return hint is Decimal or any(_is_class(hint, finite) for finite in _FINITE)


def _origin(hint: Hint) -> Hint:
    """`list` of `list[int]`, the hint itself where it has no arguments."""
    origin: Hint = typing.get_origin(hint)
    return hint if origin is None else origin


def _is_class(hint: Hint, parent: type[object]) -> bool:
    return isinstance(hint, type) and issubclass(cast("type[object]", hint), parent)


def _ambiguous(hint: Hint) -> WiringError:
    return WiringError(f"rename='camel' cannot tell the members of {hint} apart. Wrap each in a class of its own.")


def renamed(raw: bytes, shape: Shape, *, inward: bool) -> bytes:
    """The same JSON with its keys renamed: `inward` from the wire to the class, else from the class to the wire.

    A key that is a field's own name but not its wire name is unknown on the wire, hence dropped on the way in.
    Raises msgspec's DecodeError for broken JSON.
    """
    start = raw.lstrip()[:1]
    if start == b"{":
        entries = _OBJECTS.decode(raw)
        if shape.values is not None:
            return _ENCODE({key: _part(value, shape.values, inward=inward) for key, value in entries.items()})
        pairs = _inward(entries, shape) if inward else _outward(entries, shape)
        return _ENCODE(pairs)
    if start == b"[" and (shape.items or shape.row):
        values = _ARRAYS.decode(raw)
        inner = [shape.items] * len(values) if shape.items else [*shape.row, *[None] * len(values)]
        return _ENCODE([_part(value, each, inward=inward) for value, each in zip(values, inner, strict=False)])
    return raw


def _part(value: msgspec.Raw, shape: Shape | None, *, inward: bool) -> msgspec.Raw:
    return value if shape is None else msgspec.Raw(renamed(bytes(value), shape, inward=inward))


def _outward(entries: dict[str, msgspec.Raw], shape: Shape) -> dict[str, msgspec.Raw]:
    named = ((shape.outward.get(key, key), value) for key, value in entries.items())
    return {wire: _part(value, shape.children.get(wire), inward=False) for wire, value in named}


def _inward(entries: dict[str, msgspec.Raw], shape: Shape) -> dict[str, msgspec.Raw]:
    return {
        shape.inward.get(wire, wire): _part(value, shape.children.get(wire), inward=True)
        for wire, value in entries.items()
        if wire in shape.inward or wire not in shape.outward
    }


def _fields(cls: type) -> list[Field]:
    if kind_of(cls):
        return fields_of(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    return [Field(name, name, name, hint) for name, hint in hints.items()]


def _bare(hint: Hint, names: dict[Any, Hint]) -> Hint:
    """A hint without what JSON does not show: Annotated, Final, Required, NewType, aliases, bound type variables."""
    while True:
        origin = _origin(hint)
        if origin in (typing.Annotated, typing.Final, typing.Required, typing.NotRequired):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif hasattr(hint, "__value__"):  # a TypeAliasType of Python 3.12
            hint = hint.__value__
        elif isinstance(hint, typing.TypeVar):
            hint = names.get(hint, hint.__bound__ or Any)
        else:
            return hint


def _camel(name: str) -> str:
    return re.sub(r"(?<=[^_])_+([^_])", lambda found: found[1].upper(), name)
