"""The same message in all four kinds, with every type that must round-trip exactly, and strategies that fill it."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import msgspec
import pydantic
from hypothesis import strategies as st

from eventseam.contracts.channel import Channel

plain = Channel("plain", key="order_id")
camel = Channel("camel", key="order_id", rename="camel")


class Colour(Enum):
    DARK_RED = "dark_red"
    LIGHT_BLUE = "light_blue"


class StructLine(msgspec.Struct, frozen=True):
    unit_price: Decimal
    free_form: dict[str, int]


class StructCard(msgspec.Struct, frozen=True, tag="card"):
    card_number: str


class StructCash(msgspec.Struct, frozen=True, tag="cash"):
    paid_at: datetime


@dataclasses.dataclass(frozen=True)
class DataLine:
    unit_price: Decimal
    free_form: dict[str, int]


@attrs.frozen
class AttrsLine:
    unit_price: Decimal
    free_form: dict[str, int]


class ModelLine(pydantic.BaseModel, frozen=True):
    unit_price: Decimal
    free_form: dict[str, int]


class ModelCard(pydantic.BaseModel, frozen=True):
    type: Literal["card"] = "card"
    card_number: str


class ModelCash(pydantic.BaseModel, frozen=True):
    type: Literal["cash"] = "cash"
    paid_at: datetime


ModelPayment = Annotated[ModelCard | ModelCash, pydantic.Field(discriminator="type")]


class StructPlain(msgspec.Struct, frozen=True):
    order_id: str
    total_amount: Decimal
    placed_at: datetime
    customer_ref: UUID
    due_day: date
    main_colour: Colour
    int_or_text: int | str | None
    first_line: StructLine | None
    all_lines: tuple[StructLine, ...]
    size_pair: tuple[int, str]
    by_name: dict[str, StructLine]
    weight_kg: float
    payment: StructCard | StructCash


class StructCamel(StructPlain, frozen=True):
    pass


@dataclasses.dataclass(frozen=True)
class DataPlain:
    order_id: str
    total_amount: Decimal
    placed_at: datetime
    customer_ref: UUID
    due_day: date
    main_colour: Colour
    int_or_text: int | str | None
    first_line: DataLine | None
    all_lines: tuple[DataLine, ...]
    size_pair: tuple[int, str]
    by_name: dict[str, DataLine]
    weight_kg: float
    payment: StructCard | StructCash


@dataclasses.dataclass(frozen=True)
class DataCamel(DataPlain):
    pass


@attrs.frozen
class AttrsPlain:
    order_id: str
    total_amount: Decimal
    placed_at: datetime
    customer_ref: UUID
    due_day: date
    main_colour: Colour
    int_or_text: int | str | None
    first_line: AttrsLine | None
    all_lines: tuple[AttrsLine, ...]
    size_pair: tuple[int, str]
    by_name: dict[str, AttrsLine]
    weight_kg: float
    payment: StructCard | StructCash


@attrs.frozen
class AttrsCamel(AttrsPlain):
    pass


class ModelPlain(pydantic.BaseModel, frozen=True):
    order_id: str
    total_amount: Decimal
    placed_at: datetime
    customer_ref: UUID
    due_day: date
    main_colour: Colour
    int_or_text: int | str | None
    first_line: ModelLine | None
    all_lines: tuple[ModelLine, ...]
    size_pair: tuple[int, str]
    by_name: dict[str, ModelLine]
    weight_kg: float
    payment: ModelPayment


class ModelCamel(ModelPlain, frozen=True):
    pass


for _kind, _plain, _camel in (
    ("struct", StructPlain, StructCamel),
    ("dataclass", DataPlain, DataCamel),
    ("attrs", AttrsPlain, AttrsCamel),
    ("pydantic", ModelPlain, ModelCamel),
):
    plain.event(f"sample.{_kind}")(_plain)
    camel.event(f"camel.{_kind}")(_camel)

PARTS: dict[type, tuple[Any, Any, Any]] = {
    StructPlain: (StructLine, StructCard, StructCash),
    StructCamel: (StructLine, StructCard, StructCash),
    DataPlain: (DataLine, StructCard, StructCash),
    DataCamel: (DataLine, StructCard, StructCash),
    AttrsPlain: (AttrsLine, StructCard, StructCash),
    AttrsCamel: (AttrsLine, StructCard, StructCash),
    ModelPlain: (ModelLine, ModelCard, ModelCash),
    ModelCamel: (ModelLine, ModelCard, ModelCash),
}
CLASSES = list(PARTS)

decimals = st.decimals(allow_nan=False, allow_infinity=False)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=zones)
keys = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
field_like = st.sampled_from(["unit_price", "unitPrice", "free_form", "order_id", "x"])


def messages(cls: type) -> st.SearchStrategy[Any]:
    """Messages of one of `CLASSES`."""
    line, card, cash = PARTS[cls]
    lines = st.builds(line, unit_price=decimals, free_form=st.dictionaries(field_like, st.integers(), max_size=3))
    return st.builds(
        cls,
        order_id=keys,
        total_amount=decimals,
        placed_at=times,
        customer_ref=st.uuids(),
        due_day=st.dates(),
        main_colour=st.sampled_from(Colour),
        int_or_text=st.none() | st.integers() | st.text(max_size=10),
        first_line=st.none() | lines,
        all_lines=st.lists(lines, max_size=3).map(tuple),
        size_pair=st.tuples(st.integers(), st.text(max_size=10)),
        by_name=st.dictionaries(field_like, lines, max_size=2),
        weight_kg=st.floats(allow_nan=False, allow_infinity=False),
        payment=st.builds(card, card_number=st.text(max_size=5)) | st.builds(cash, paid_at=times),
    )
