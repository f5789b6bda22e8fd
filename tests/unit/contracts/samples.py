"""Declared messages that the tests of contracts share."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any, Generic, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic

from eventseam.contracts.channel import Channel
from eventseam.contracts.upcast import upcast

order = Channel("order", key="order_id")
stock = Channel("stock", key="sku")
camel = Channel("camel", key="order_id", rename="camel")


class Line(msgspec.Struct, frozen=True):
    sku: str
    weight: float


@order.event("order.placed")
class OrderPlacedV1(msgspec.Struct, frozen=True):
    order_id: str
    total: float


@order.event("order.placed", version=2)
class OrderPlacedV2(msgspec.Struct, frozen=True):
    order_id: str
    total: Decimal


@order.event("order.placed", version=3)
class OrderPlaced(msgspec.Struct, frozen=True):
    order_id: str
    email: str
    total: Decimal
    lines: tuple[Line, ...] = ()
    extra: Any = None


@upcast(OrderPlacedV1, OrderPlacedV2)
def to_v2(old: OrderPlacedV1) -> OrderPlacedV2:
    return OrderPlacedV2(old.order_id, Decimal(str(old.total)))


@upcast(OrderPlacedV2, OrderPlaced)
def to_v3(old: OrderPlacedV2) -> OrderPlaced:
    return OrderPlaced(old.order_id, "unknown", old.total)


@order.event("order.confirmed", details="/orders/{order_id}")
class OrderConfirmed(msgspec.Struct, frozen=True):
    order_id: str


@order.command("order.place")
class PlaceOrder(msgspec.Struct, frozen=True):
    order_id: str


@stock.event("stock.counted")
class StockCounted(msgspec.Struct, frozen=True):
    sku: int | UUID | str | float | None
    count: int = 0


class StructShape(msgspec.Struct):
    order_id: str
    weight: float
    price: Decimal


@dataclasses.dataclass
class DataShape:
    order_id: str
    weight: float
    price: Decimal


@attrs.define
class AttrsShape:
    order_id: str
    weight: float
    price: Decimal


class ModelShape(pydantic.BaseModel):
    order_id: str
    weight: float
    price: Decimal = pydantic.Field(allow_inf_nan=True)


@pydantic.dataclasses.dataclass
class ModelDataShape:
    order_id: str
    weight: float
    price: Decimal


shapes = Channel("shapes", key="order_id")
SHAPES: list[Any] = [StructShape, DataShape, AttrsShape, ModelShape, ModelDataShape]
for _at, _shape in enumerate(SHAPES):
    shapes.event(f"shape.number{_at}")(_shape)


class Tree(msgspec.Struct):
    node_name: str
    sub_trees: list[Tree] = []
    by_name: dict[str, list[Tree]] = {}
    any_data: Any = None


class Row(msgspec.Struct, array_like=True, tag=True):
    first_tree: Tree
    row_number: int


@camel.event("tree.grown")
class TreeGrown(msgspec.Struct):
    order_id: str
    root_tree: Tree | None
    one_row: Row | None = None
    explicit: str = msgspec.field(name="as_it_is", default="")
    pair_of: tuple[int, Tree] | None = None


T = TypeVar("T")


class Box(msgspec.Struct, Generic[T]):
    box_value: T


class Size(TypedDict):
    size_cm: int


class Point(NamedTuple):
    x_cm: int
    box_at: Box[int]


Root = NewType("Root", Tree)


@camel.event("tree.wrapped")
class TreeWrapped(msgspec.Struct):
    order_id: str
    tree_box: Box[Tree]
    int_box: Box[int]
    tree_size: Size
    tree_point: Point
    tree_root: Root
    by_number: dict[int, Tree]


class Aliased(pydantic.BaseModel):
    line_number: int = pydantic.Field(alias="line_no")
    unit_price: Decimal


@camel.event("model.aliased")
class AliasedOrder(pydantic.BaseModel):
    order_id: str
    some_lines: list[Aliased]

    @pydantic.computed_field
    @property
    def line_count(self) -> int:
        return len(self.some_lines)
