"""From a name on the wire to the newest version of a declared class, and to nothing else."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from eventseam.contracts.channel import Channel
from eventseam.contracts.message import message_type
from eventseam.contracts.registry import Registry
from eventseam.contracts.upcast import upcast
from eventseam.errors import Undecodable, UnknownType, WiringError
from tests.unit.contracts.samples import (
    OrderConfirmed,
    OrderPlaced,
    OrderPlacedV1,
    OrderPlacedV2,
    PlaceOrder,
    StockCounted,
    order,
)

registry = Registry(order.types)


def versions(*, name: str = "a", count: int = 2) -> list[type]:
    channel = Channel("chain", key="id")
    return [channel.event(name, version=at + 1)(msgspec.defstruct(f"V{at + 1}", ["id"])) for at in range(count)]


def test_a_type_is_found_by_its_exact_name_and_version():
    assert message_type(OrderPlacedV2) is registry.find("order.placed.v2")


def test_an_old_version_arrives_as_the_newest_through_the_whole_chain():
    expected = OrderPlaced("1", "unknown", Decimal("1.5"))
    assert expected == registry.decode("order.placed", b'{"order_id":"1","total":1.5}')


def test_the_newest_version_arrives_as_it_is():
    assert OrderConfirmed("7") == registry.decode("order.confirmed", b'{"order_id":"7"}')


def test_a_plain_message_is_read_as_the_type_that_its_channel_names_and_else_says_how_to_name_one():
    silent, plain = versions(name="a"), Channel("chain", key="id", plain="b")
    named = plain.event("b")(msgspec.defstruct("B", ["id"]))
    with pytest.raises(
        UnknownType, match=r"write Channel\('chain', ..., plain='that.type'\), deploy, and run: eventseam"
    ):
        Registry(map(message_type, silent[:1])).decode("plain:chain", b"{}")
    both = Registry(plain.types)
    assert named("1") == both.decode("plain:chain", b'{"id":"1"}')
    assert ("b", "plain:chain") == both.wires_for(message_type(named))
    assert plain.types == both.types


def test_an_unknown_version_names_the_versions_that_are_known():
    with pytest.raises(
        UnknownType, match=r"'order.placed' is known in version 1, 2, 3 only; this is 'order.placed.v4'"
    ):
        registry.find("order.placed.v4")


@pytest.mark.parametrize("wire", ["order.placed.v1", "order.placed.v02", "Order.placed", "order.placed ", "order"])
def test_a_name_that_is_nearly_right_is_unknown(wire):
    with pytest.raises(UnknownType):
        registry.find(wire)


def test_an_unknown_name_is_answered_with_what_comes_near():
    with pytest.raises(UnknownType, match=r"no message type 'order.placsd'\. Did you mean order\.placed or"):
        registry.find("order.placsd")


def test_the_right_name_is_suggested_among_hundreds():
    many = Channel("many", key="id")
    types = [many.event(f"thing{at}.happened")(msgspec.defstruct(f"T{at}", ["id"])) for at in range(300)]
    with pytest.raises(UnknownType, match=r"Did you mean thing177\.happened"):
        Registry(map(message_type, types)).find("thing177.happend")


@pytest.mark.parametrize("wire", ["os.system", "eventseam.errors:WiringError", "x" * 100_000, "", "\x00", "\ud800"])
def test_a_hostile_name_imports_nothing_and_is_cut_short(wire):
    with pytest.raises(UnknownType) as caught:
        registry.decode(wire, b"{}")
    assert len(str(caught.value)) < 1_000


def test_a_handler_of_the_newest_version_receives_all_names_that_lead_to_it():
    assert ("order.placed", "order.placed.v2", "order.placed.v3") == registry.wires_for(message_type(OrderPlaced))
    assert () == registry.wires_for(message_type(OrderPlacedV1))


def test_the_newest_version_of_any_is_the_end_of_its_chain():
    assert message_type(OrderPlaced) is registry.newest(message_type(OrderPlacedV1))
    assert message_type(PlaceOrder) is registry.newest(message_type(PlaceOrder))
    assert message_type(StockCounted) is registry.newest(message_type(StockCounted))


def test_one_version_brings_all_that_lead_to_the_same_end():
    small = Registry([message_type(OrderPlaced)])
    assert {"order.placed", "order.placed.v2", "order.placed.v3"} == {declared.wire for declared in small.types}


def test_versions_without_an_upcast_are_two_types():
    first, second = (message_type(cls) for cls in versions())
    both = Registry([first, second])
    assert (("a",), ("a.v2",)) == (both.wires_for(first), both.wires_for(second))


def test_one_name_on_two_channels_is_refused():
    clash = Channel("clash", key="id").event("order.placed")(msgspec.defstruct("Clash", ["id"]))
    with pytest.raises(WiringError, match=r"'order.placed' is declared on channel 'clash' and on 'order'"):
        Registry([*order.types, message_type(clash)])


def test_the_same_type_twice_is_one_type():
    assert len(order.types) == len(Registry([*order.types, *order.types]).types)


def test_an_upcast_that_raises_makes_the_message_undecodable_with_the_cause():
    old, new = versions()

    @upcast(old, new)
    def broken(message):
        raise KeyError("total")

    with pytest.raises(Undecodable, match=r"a: its upcast to V2 raised KeyError: 'total'"):
        Registry([message_type(old)]).decode("a", b'{"id":"1"}')


def test_an_upcast_that_returns_something_else_is_found():
    old, new = versions()
    upcast(old, new)(lambda message: message)
    with pytest.raises(Undecodable, match="returned a V1, not a V2"):
        Registry([message_type(old)]).decode("a", b'{"id":"1"}')


def test_an_upcast_rises():
    old, new = versions()
    with pytest.raises(WiringError, match="version 2 to 1"):
        upcast(new, old)(lambda message: message)
    with pytest.raises(WiringError, match="version 1 to 1"):
        upcast(old, old)(lambda message: message)


def test_a_version_has_one_successor():
    first, second, third = versions(count=3)
    upcast(first, second)(lambda message: message)
    with pytest.raises(WiringError, match="V1 becomes V2 already"):
        upcast(first, third)(lambda message: message)


def test_an_upcast_stays_within_one_message():
    old = versions()[0]
    with pytest.raises(WiringError, match="are different messages"):
        upcast(old, OrderPlaced)(lambda message: message)


def test_an_upcast_needs_declared_classes():
    with pytest.raises(WiringError, match="Bare is not declared"):
        upcast(OrderPlaced, msgspec.defstruct("Bare", ["id"]))(lambda message: message)


def test_version_1_is_written_without_its_number():
    with pytest.raises(UnknownType, match=r"'order.placed.v1': version 1 is written without .v1. Write 'order.placed'"):
        registry.find("order.placed.v1")
