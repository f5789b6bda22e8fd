"""Encode and decode per kind of message class: a CloudEvents document and a bare body, beside the library alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic

from bench.measure import SLICES, Case, Comparison, Variant
from eventseam.contracts.channel import Channel
from eventseam.contracts.cloudevents import from_wire, to_wire
from eventseam.contracts.envelope import Envelope
from eventseam.contracts.message import message_type

channel = Channel("order", key="order_id")


@channel.event("order.placed.struct")
class StructOrder(msgspec.Struct, frozen=True):
    order_id: str
    email: str
    total: Decimal
    quantity: int
    placed_at: datetime
    items: tuple[str, ...]


@channel.event("order.placed.dataclass")
@dataclass(frozen=True)
class DataclassOrder:
    order_id: str
    email: str
    total: Decimal
    quantity: int
    placed_at: datetime
    items: tuple[str, ...]


@channel.event("order.placed.attrs")
@attrs.frozen
class AttrsOrder:
    order_id: str
    email: str
    total: Decimal
    quantity: int
    placed_at: datetime
    items: tuple[str, ...]


@channel.event("order.placed.pydantic")
class PydanticOrder(pydantic.BaseModel):
    order_id: str
    email: str
    total: Decimal
    quantity: int
    placed_at: datetime
    items: tuple[str, ...]


KINDS: dict[str, type[Any]] = {
    "msgspec": StructOrder,
    "dataclass": DataclassOrder,
    "attrs": AttrsOrder,
    "pydantic": PydanticOrder,
}
_FIELDS: dict[str, Any] = {
    "order_id": "order-000000000017",
    "email": "somebody@example.org",
    "total": Decimal("144.80"),
    "quantity": 3,
    "placed_at": datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
    "items": ("sku-00017", "sku-00251", "sku-01024"),
}


class _Work(NamedTuple):
    encode: Callable[[], object]
    decode: Callable[[], object]


def codec(count: int) -> Case:
    """`count` operations per round and variant."""
    variants: list[Variant] = []
    comparisons: list[Comparison] = []
    for kind, cls in KINDS.items():
        works = {"library": _library(cls), "bare body": _bare(cls), "CloudEvents": _structured(cls)}
        for form, work in works.items():
            for operation, function in zip(("encode", "decode"), work, strict=True):
                name = f"{kind}, {form}: {operation}"
                variants.append(Variant(name, lambda function=function: _timed(function, count)))
                if form != "library":
                    floor = f"{kind}, library: {operation}"
                    comparisons.append(Comparison(f"{name} over the library", name, floor, "difference"))
    return Case("codec", "Encode and decode, per kind of message class", variants, comparisons)


def _library(cls: type[Any]) -> _Work:
    """What the library does by itself, without caps, NaN checks or errors that name a path."""
    message = cls(**_FIELDS)
    if issubclass(cls, pydantic.BaseModel):
        body = message.model_dump_json().encode()
        return _Work(message.model_dump_json, lambda: cls.model_validate_json(body))
    encode, decode = msgspec.json.Encoder(decimal_format="string").encode, msgspec.json.Decoder(cls).decode
    body = encode(message)
    return _Work(lambda: encode(message), lambda: decode(body))


def _bare(cls: type[Any]) -> _Work:
    kind, message = message_type(cls), cls(**_FIELDS)
    body = kind.encode(message)
    return _Work(lambda: kind.encode(message), lambda: kind.decode(body))


def _structured(cls: type[Any]) -> _Work:
    kind, message = message_type(cls), cls(**_FIELDS)
    envelope = Envelope(
        id="0190a5c4-1f6e-7cc3-98c4-dc0c0c07398f", type=kind.wire, source="orders", channel="order",
        key=message.order_id,        time=_FIELDS["placed_at"], correlation_id="0190a5c4-1f6e-7cc3-98c4-dc0c0c07398f",
        trace="00-0190a5c41f6e7cc398c4dc0c0c07398f-98c4dc0c0c07398f-00", sequence=17,
    )  # fmt: skip
    headers, document = to_wire(envelope, kind.encode(message), mode="structured")

    def decode() -> object:
        return kind.decode(from_wire(headers, document)[1])

    return _Work(lambda: to_wire(envelope, kind.encode(message), mode="structured"), decode)


def _timed(function: Callable[[], object], count: int) -> float:
    times, best = count // SLICES, float("inf")
    for _ in range(SLICES):
        began = time.perf_counter()
        for _ in range(times):
            function()
        best = min(best, time.perf_counter() - began)
    return best / times * 1e6
