"""What the four kinds of message class have in common: their kind and the names and types of their fields.

pydantic and attrs are recognised by the marks that they leave on a class; neither is ever imported here.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import msgspec

Kind = Literal["struct", "dataclass", "attrs", "pydantic"]
Hint: TypeAlias = Any
"""A declared type. Not every one is a `type`: unions, aliases and type variables are objects of their own."""

Class: TypeAlias = Any
"""A message class, seen through the marks that its library left on it."""

KINDS = "a msgspec.Struct, a dataclass, an attrs class or a pydantic v2 model"


class Field(NamedTuple):
    """One field: its attribute, the keys it has in JSON when written and when read, and its declared type."""

    name: str
    written: str
    read: str
    hint: Hint


def kind_of(cls: object) -> Kind | None:
    """The kind of a message class, or None for anything else (a plain class, a pydantic v1 model, an instance)."""
    if not isinstance(cls, type):
        return None
    known = cast("type[object]", cls)
    if hasattr(known, "__pydantic_validator__"):
        return "pydantic"
    if issubclass(known, msgspec.Struct):
        return "struct"
    if dataclasses.is_dataclass(known):
        return "dataclass"
    return "attrs" if hasattr(known, "__attrs_attrs__") else None


def field_names(cls: type) -> tuple[str, ...]:
    """The attributes of a message class that are fields, in order. Needs no resolved annotations."""
    return tuple(_declared(cls))


def fields_of(cls: type) -> list[Field]:
    """The fields of a message class with their JSON keys and types.

    Raises NameError where an annotation names something that cannot be found from the class's module.
    """
    if kind_of(cls) == "pydantic":
        return _pydantic_fields(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    return [Field(name, key, key, hints.get(name, Any)) for name, key in _declared(cls).items()]


def _declared(cls: Class) -> dict[str, str]:
    """Attribute -> JSON key."""
    match kind_of(cls):
        case "struct":
            return dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
        case "dataclass":
            return {field.name: field.name for field in dataclasses.fields(cls)}
        case "attrs":
            return {field.name: field.name for field in cls.__attrs_attrs__}
        case "pydantic":
            return {name: name for name in _pydantic_infos(cls)}
        case None:
            return {}


def _pydantic_infos(cls: Class) -> dict[str, Any]:
    infos: dict[str, Any] = cls.__pydantic_fields__
    return infos


def _pydantic_fields(cls: Class) -> list[Field]:
    if hasattr(cls, "model_rebuild"):
        cls.model_rebuild()  # resolves forward references; does nothing when all are known
    fields = [
        Field(name, info.serialization_alias or name, _read_key(name, info.validation_alias), info.annotation)
        for name, info in _pydantic_infos(cls).items()
    ]
    computed = getattr(cls, "model_computed_fields", {})
    return fields + [Field(name, info.alias or name, name, info.return_type) for name, info in computed.items()]


def _read_key(name: str, alias: object) -> str:
    return alias if isinstance(alias, str) else name
