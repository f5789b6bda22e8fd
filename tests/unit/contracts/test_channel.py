"""A declaration that could not work is refused where it is written, and the error says what to write instead."""

from __future__ import annotations

import dataclasses

import attrs
import msgspec
import pydantic
import pytest

from eventseam.contracts.channel import Channel, Limit
from eventseam.contracts.message import message_type
from eventseam.errors import ContractError, WiringError
from tests.unit.contracts.samples import OrderConfirmed, OrderPlaced, OrderPlacedV1, PlaceOrder, order


def test_a_channel_lists_its_types_in_the_order_of_their_declaration():
    wires = [declared.wire for declared in order.types]
    assert ["order.placed", "order.placed.v2", "order.placed.v3", "order.confirmed", "order.place"] == wires


def test_a_declared_class_knows_its_name_version_kind_and_channel():
    declared = message_type(OrderPlaced)
    assert ("order.placed", 3, "event", order) == (declared.name, declared.version, declared.kind, declared.channel)
    assert "command" == message_type(PlaceOrder).kind


def test_version_one_is_the_bare_name_on_the_wire_and_later_ones_end_in_their_number():
    assert "order.placed" == message_type(OrderPlacedV1).wire
    assert "order.placed.v3" == message_type(OrderPlaced).wire


def test_all_four_kinds_of_class_can_be_declared():
    channel = Channel("kinds", key="id")
    channel.event("a")(msgspec.defstruct("A", [("id", str)]))
    channel.event("b")(dataclasses.make_dataclass("B", [("id", str)]))
    channel.event("c")(attrs.make_class("C", ["id"]))
    channel.event("d")(pydantic.create_model("D", id=str))
    assert ["a", "b", "c", "d"] == [declared.wire for declared in channel.types]


def test_a_plain_class_is_refused_with_the_kinds_that_are_not():
    class Plain:
        order_id: str

    with pytest.raises(WiringError, match=r"Plain as 'x.y': it is not a msgspec.Struct, a dataclass"):
        Channel("x", key="order_id").event("x.y")(Plain)


def test_a_class_without_the_key_is_refused_with_the_fields_that_it_has():
    with pytest.raises(WiringError, match=r"channel 'stock' needs field 'sku'; it has a, b\. Add the field"):
        Channel("stock", key="sku").event("s")(msgspec.defstruct("S", ["a", "b"]))


def test_a_details_link_may_only_name_fields():
    with pytest.raises(WiringError, match="needs field 'nr'; it has id"):
        Channel("x", key="id").event("s", details="/orders/{nr}")(msgspec.defstruct("S", ["id"]))


@pytest.mark.parametrize("link", ["/o/{id.real}", "/o/{id!r}", "/o/{id:>9}", "/o/{}", "/o/{", "/o/{{id}}", "/o/\n{id}"])
def test_a_details_link_holds_nothing_but_plain_placeholders(link):
    with pytest.raises(WiringError, match="details"):
        Channel("x", key="id").event("s", details=link)(msgspec.defstruct("S", ["id"]))


def test_a_name_and_version_can_be_taken_once():
    channel = Channel("x", key="id")
    channel.event("s")(msgspec.defstruct("First", ["id"]))
    with pytest.raises(WiringError, match=r"version 1 is First already\. Raise the version"):
        channel.command("s")(msgspec.defstruct("Second", ["id"]))


def test_a_class_can_be_declared_once():
    with pytest.raises(WiringError, match="the class is declared already"):
        Channel("x", key="order_id").event("s")(OrderConfirmed)


def test_a_subclass_is_not_declared_by_its_parent():
    class Derived(OrderConfirmed):
        pass

    with pytest.raises(ContractError, match=r"Derived is not a declared message. Put @channel.event"):
        message_type(Derived)
    assert Derived is Channel("x", key="order_id").event("s")(Derived)


@pytest.mark.parametrize("thing", [int, 5, None, "order.placed"])
def test_what_was_never_declared_is_no_message(thing):
    with pytest.raises(ContractError, match="is not a declared message"):
        message_type(thing)


@pytest.mark.parametrize("name", ["", "Order", "1x", "a b", "a/b", "a\n", "ä", "a" * 129, ".a"])
def test_names_are_lower_case_short_and_plain(name):
    with pytest.raises(WiringError, match="use a lower-case letter"):
        Channel(name, key="id")
    with pytest.raises(WiringError, match="use a lower-case letter"):
        Channel("x", key="id").event(name)


@pytest.mark.parametrize("name", ["order.placed.v2", "a.v1", "a.v007"])
def test_a_name_does_not_end_in_a_version(name):
    with pytest.raises(WiringError, match="ends in a version"):
        Channel("x", key="id").event(name)


@pytest.mark.parametrize("version", [0, -1, True, 1.5, "2", 10_000])
def test_a_version_is_a_whole_number_from_one(version):
    with pytest.raises(WiringError, match="version is"):
        Channel("x", key="id").event("a", version=version)


def test_a_channel_is_read_only():
    with pytest.raises(AttributeError, match="read only: pass key when it is made"):
        Channel("x", key="id").key = "other"


@pytest.mark.parametrize("options", [{"key": "a.b"}, {"key": ""}, {"rename": "kebab"}, {"mode": "xml"}, {"colour": 1}])
def test_options_that_do_not_exist_are_refused(options):
    with pytest.raises(WiringError, match=r"Channel\('x'\)"):
        Channel("x", **{"key": "id"} | options)


@pytest.mark.parametrize("field", ["per_second", "pending_max", "wait_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_greater_than_zero_and_finite(field, value):
    with pytest.raises(WiringError, match=rf"Limit\({field}="):
        Limit(**{field: value})


def test_a_limit_may_leave_rate_and_backlog_open():
    assert (None, None, 5.0) == (Limit().per_second, Limit().pending_max, Limit().wait_seconds)
