"""Classes that JSON cannot carry are refused when the registry is built, never at the first message."""

from __future__ import annotations

from typing import Any

import msgspec
import pydantic
import pytest

from eventseam.contracts.channel import Channel
from eventseam.contracts.message import message_type
from eventseam.contracts.registry import Registry
from eventseam.errors import WiringError

channel = Channel("wiring", key="id")
renamed = Channel("renamed", key="id", rename="camel")


class A(msgspec.Struct):
    a_b: int = 0


class B(msgspec.Struct):
    c_d: int = 0


class Payload(pydantic.BaseModel):
    a_b: int


@channel.event("untold.union")
class UntoldUnion(msgspec.Struct):
    id: str
    either: A | B


@channel.event("nowhere.type")
class NowhereType(msgspec.Struct):
    id: str
    what: DoesNotExist  # type: ignore[name-defined]  # noqa: F821


@channel.event("custom.type")
class CustomType(msgspec.Struct):
    id: str
    what: complex


@renamed.event("open.union")
class OpenUnion(pydantic.BaseModel):
    id: str
    either: dict[str, int] | Payload


@renamed.event("same.name")
class SameName(msgspec.Struct):
    id: str
    line_no: int
    lineNo: int  # noqa: N815 - the point of the test


@renamed.event("same.union")
class SameUnion(pydantic.BaseModel):
    id: str
    either: list[Payload] | Payload


@pytest.mark.parametrize(
    "cls,reason",
    [
        (UntoldUnion, "untold.union: UntoldUnion cannot be read from JSON"),
        (NowhereType, "DoesNotExist.*Declare its types at module level"),
        (CustomType, "CustomType cannot be read from JSON.*complex"),
        (OpenUnion, "cannot tell the members of"),
        (SameUnion, "cannot tell the members of"),
        (SameName, "'lineNo' and another field are both 'lineNo' on the wire"),
    ],
)
def test_a_class_that_json_cannot_carry_is_refused_when_the_registry_is_built(cls: Any, reason: str):
    with pytest.raises(WiringError, match=reason):
        Registry([message_type(cls)])
