"""Whatever a message holds, it comes back the same, in all four kinds, with and without renaming."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventseam.contracts.fields import field_names, kind_of
from eventseam.contracts.message import message_type
from tests.properties.kinds import CLASSES, StructCamel, messages

any_message = st.sampled_from(CLASSES).flatmap(messages)


def leaves(value: object) -> list[object]:
    """Every value inside a message that has no parts, in order."""
    if kind_of(type(value)):
        return [leaf for name in field_names(type(value)) for leaf in leaves(getattr(value, name))]
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in leaves(part)]
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_a_message_of_every_kind_and_type_comes_back_equal(cls, data):
    message = data.draw(messages(cls))
    declared = message_type(cls)
    assert message == declared.decode(declared.encode(message))


@given(any_message)
def test_decimals_come_back_digit_for_digit_and_times_with_their_offset(message):
    declared = message_type(type(message))
    pairs = zip(leaves(message), leaves(declared.decode(declared.encode(message))), strict=True)
    for before, after in pairs:
        if isinstance(before, Decimal):
            assert before.as_tuple() == after.as_tuple()
        assert str(before) == str(after)


@given(any_message)
def test_the_body_may_arrive_as_text(message):
    declared = message_type(type(message))
    assert message == declared.decode(declared.encode(message).decode())


@given(any_message)
def test_all_kinds_say_a_message_in_the_same_json(message):
    declared = message_type(type(message))
    document = msgspec.json.decode(declared.encode(message))
    camel = declared.channel.rename == "camel"
    expected = {"orderId", "totalAmount", "placedAt"} if camel else {"order_id", "total_amount", "placed_at"}
    assert expected == expected & set(document)
    assert str(message.total_amount) == document["totalAmount" if camel else "total_amount"]


@given(messages(StructCamel))
def test_renaming_follows_declared_types_and_leaves_the_keys_of_a_dict_alone(message):
    document = msgspec.json.decode(message_type(StructCamel).encode(message))
    assert list(message.by_name) == list(document["byName"])
    for name, line in message.by_name.items():
        assert {"unitPrice", "freeForm"} == set(document["byName"][name])
        assert line.free_form == document["byName"][name]["freeForm"]
