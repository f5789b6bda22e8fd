"""Keys, links and bodies: what a message says, and what it may not say."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest

from eventseam.contracts.codec import Caps
from eventseam.contracts.message import message_type
from eventseam.errors import ContractError, TooLarge, Undecodable
from tests.unit.contracts.samples import (
    SHAPES,
    AliasedOrder,
    Box,
    Line,
    OrderConfirmed,
    OrderPlaced,
    OrderPlacedV1,
    Point,
    Root,
    Row,
    StockCounted,
    Tree,
    TreeGrown,
    TreeWrapped,
)

placed = message_type(OrderPlaced)
NAN, INF = float("nan"), float("inf")


class Sku(StrEnum):
    BOLT = "bolt"


@pytest.mark.parametrize(
    "key,text",
    [
        ("a", "a"),
        (17, "17"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Sku.BOLT, "bolt"),
        ("ключ", "ключ"),
    ],
)
def test_a_key_is_text_a_number_or_a_uuid(key, text):
    assert text == message_type(StockCounted).key_of(StockCounted(key))


@pytest.mark.parametrize("key", [None, "", 1.5, True, Decimal(1), "a" * 513, "ä" * 257, "a\nb", "\x00", "\ud800"])
def test_a_key_that_cannot_order_or_travel_is_refused(key):
    with pytest.raises(ContractError, match="stock"):
        message_type(StockCounted).key_of(StockCounted(key))


def test_a_notification_links_to_its_details_and_escapes_what_it_fills_in():
    declared = message_type(OrderConfirmed)
    assert "/orders/a%2Fb%3F%20%7Bx%7D" == declared.details_of(OrderConfirmed("a/b? {x}"))


def test_a_message_without_details_has_no_link():
    assert placed.details_of(OrderPlaced("1", "", Decimal(1))) is None


def test_a_link_of_any_length_does_not_travel():
    with pytest.raises(ContractError, match="longer than 1,024 bytes"):
        message_type(OrderConfirmed).details_of(OrderConfirmed("x" * 1_100))


def test_another_class_is_not_encoded():
    with pytest.raises(ContractError, match=r"order.placed.v3 is a OrderPlaced, not a OrderPlacedV1"):
        placed.encode(OrderPlacedV1("1", 1.0))


def test_unknown_fields_are_tolerated():
    assert OrderPlacedV1("1", 2.5) == message_type(OrderPlacedV1).decode(b'{"new":[1],"order_id":"1","total":2.5}')


@pytest.mark.parametrize(
    "body,reason",
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b'{"order_id":}', "malformed"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b'{"order_id":1}', r"Expected `str`, got `int` - at `\$\.order_id`"),
        (b'{"order_id":"1"}', "missing required field `total`"),
        (b'{"order_id":"1","total":NaN}', "malformed"),
        (b'{"order_id":"1","total":Infinity}', "malformed"),
        (b'{"order_id":"1","total":1e999}', "out of range"),
        (b'{"order_id":"\xff","total":1}', "utf-8|UTF-8"),
        ("{\ud800}", "lone surrogate"),
        (b"\x80\x04\x95", "malformed"),
    ],
)
def test_broken_json_is_undecodable_with_path_and_reason(body, reason):
    with pytest.raises(Undecodable, match=rf"order\.placed: .*({reason})|{reason}"):
        message_type(OrderPlacedV1).decode(body)


def test_a_gigabyte_is_refused_by_its_length_alone():
    with pytest.raises(TooLarge, match="1,073,741,824 bytes; the cap is 1,048,576"):
        placed.decode(bytes(1 << 30))


@pytest.mark.parametrize("opening,closing", [("[", "]"), ('{"a":', "}")])
def test_ten_thousand_levels_are_refused_before_decoding(opening, closing):
    deep = opening * 10_000 + "1" + closing * 10_000
    with pytest.raises(TooLarge, match="deeper than 64 levels"):
        placed.decode(f'{{"order_id":"1","email":"","total":"1","extra":{deep}}}')


def test_depth_counts_nesting_not_brackets():
    text = '{"order_id":"[[[[{{{{\\"\\\\","email":"' + "[" * 100 + '","total":"1","extra":' + "[[],[]]" + "}"
    wide = text.replace("[[],[]]", "[" + ",".join(["[[]]"] * 500) + "]")
    assert 500 == len(placed.decode(wide).extra)


def test_exactly_the_deepest_nesting_allowed_can_be_read():
    def body(levels: int) -> str:
        return '{"order_id":"1","email":"","total":"1","extra":' + "[" * levels + "]" * levels + "}"

    assert placed.decode(body(63))
    with pytest.raises(TooLarge):
        placed.decode(body(64))


def test_caps_can_be_set_for_one_reading():
    with pytest.raises(TooLarge):
        placed.decode(b'{"order_id":"1","email":"","total":"1"}', Caps(body_bytes_max=10))


def test_what_nobody_could_read_is_not_written():
    with pytest.raises(TooLarge):
        placed.encode(OrderPlaced("1", "x" * 1_100_000, Decimal(1)))
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(TooLarge):
        placed.encode(OrderPlaced("1", "", Decimal(1), extra=deep))


@pytest.mark.parametrize("cls", SHAPES)
@pytest.mark.parametrize("number", [NAN, INF, -INF])
def test_no_kind_writes_nan_or_infinity(cls, number):
    message = cls(order_id="1", weight=1.0, price=Decimal(1))
    message.weight = number
    with pytest.raises(ContractError, match=r"NaN and infinity are not JSON - at `\$\.weight`"):
        message_type(cls).encode(message)
    message.weight, message.price = 1.0, Decimal(str(number))
    with pytest.raises(ContractError, match=r"NaN and infinity are not JSON - at `\$\.price`"):
        message_type(cls).encode(message)


@pytest.mark.parametrize("cls", SHAPES)
@pytest.mark.parametrize("weight", ["NaN", "Infinity", "-Infinity", '"NaN"', '"inf"', "1e999", "9" * 400])
def test_no_kind_reads_nan_or_infinity_as_a_float(cls, weight):
    with pytest.raises(Undecodable):
        message_type(cls).decode(f'{{"order_id":"1","price":"1","weight":{weight}}}')


@pytest.mark.parametrize("cls", SHAPES)
@pytest.mark.parametrize("price", ["NaN", "nan", "sNaN", "NaN123", "-Infinity", "inf", "\\u004eaN", "INF"])
def test_no_kind_reads_nan_or_infinity_as_a_decimal(cls, price):
    with pytest.raises(Undecodable):
        message_type(cls).decode(f'{{"order_id":"1","price":"{price}","weight":1}}')


@pytest.mark.parametrize("cls", SHAPES)
def test_every_kind_reads_ordinary_words_that_look_like_nan(cls):
    message = message_type(cls).decode('{"order_id":"nan info","price":"1.50","weight":1}')
    assert ("nan info", "1.50") == (message.order_id, str(message.price))


def test_nan_in_undeclared_data_is_found_too():
    with pytest.raises(ContractError, match=r"at `\$\.extra\[\.\.\.\]\[1\]`"):
        placed.encode(OrderPlaced("1", "", Decimal(1), extra={"a": [1.0, NAN]}))


def test_null_beside_floats_is_no_nan():
    assert b'"extra":null' in placed.encode(OrderPlaced("1", "", Decimal(1), (Line("a", 1.5),)))


def test_what_json_cannot_carry_is_named_with_its_path():
    with pytest.raises(ContractError, match=r"type object is unsupported - at `\$\.lines\[1\]\.weight`"):
        placed.encode(OrderPlaced("1", "", Decimal(1), (Line("a", 1.0), Line("b", object()))))
    with pytest.raises(ContractError, match=r"at `\$\.email`"):
        placed.encode(OrderPlaced("1", "\ud800", Decimal(1)))


def test_a_message_that_contains_itself_is_refused():
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(ContractError, match="contains itself"):
        placed.encode(OrderPlaced("1", "", Decimal(1), extra=ring))


def test_the_reasons_of_pydantic_name_path_but_no_payload():
    with pytest.raises(Undecodable) as caught:
        message_type(AliasedOrder).decode(b'{"orderId":"1","someLines":[{"line_no":"secret","unitPrice":"1"}]}')
    assert "$.some_lines.0.line_no" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_names_are_renamed_through_trees_lists_dicts_and_rows_but_never_in_data():
    leaf = Tree("leaf", any_data={"snake_case": {"sub_trees": 1}})
    tree = Tree("top", [leaf], {"key_of_data": [leaf]})
    message = TreeGrown("1", tree, Row(leaf, 2), "x", (1, leaf))
    declared = message_type(TreeGrown)
    body = declared.encode(message)
    said = {"nodeName": "leaf", "subTrees": [], "byName": {}, "anyData": {"snake_case": {"sub_trees": 1}}}
    assert json.loads(body) == {
        "orderId": "1",
        "rootTree": {"nodeName": "top", "subTrees": [said], "byName": {"key_of_data": [said]}, "anyData": None},
        "oneRow": ["Row", said, 2],
        "as_it_is": "x",
        "pairOf": [1, said],
    }
    assert message == declared.decode(body)


def test_names_are_renamed_in_generics_typed_dicts_named_tuples_and_new_types():
    tree = Tree("a")
    message = TreeWrapped("1", Box(tree), Box(2), {"size_cm": 3}, Point(4, Box(5)), Root(tree), {6: tree})
    declared = message_type(TreeWrapped)
    said = {"nodeName": "a", "subTrees": [], "byName": {}, "anyData": None}
    assert json.loads(declared.encode(message)) == {
        "orderId": "1",
        "treeBox": {"boxValue": said},
        "intBox": {"boxValue": 2},
        "treeSize": {"sizeCm": 3},
        "treePoint": [4, {"boxValue": 5}],
        "treeRoot": said,
        "byNumber": {"6": said},
    }
    assert message == declared.decode(declared.encode(message))


def test_names_that_a_class_chose_itself_are_kept():
    declared = message_type(AliasedOrder)
    message = declared.decode(b'{"orderId":"1","someLines":[{"line_no":7,"unitPrice":"1.10"}]}')
    assert 7 == message.some_lines[0].line_number
    said = {"orderId": "1", "someLines": [{"line_no": 7, "unitPrice": "1.10"}], "lineCount": 1}
    assert said == json.loads(declared.encode(message))


def test_on_a_renamed_channel_only_the_wire_name_is_known():
    with pytest.raises(Undecodable, match="missing required field `order_id`"):
        message_type(TreeGrown).decode(b'{"order_id":"1","rootTree":null}')


def test_renaming_keeps_the_exact_digits_of_what_it_does_not_rename():
    message = message_type(TreeGrown).decode(
        b' {"orderId" : "1" , "rootTree":{"nodeName":"a","anyData":[12345678901234567890123, 0.1 ]}}'
    )
    assert [12345678901234567890123, 0.1] == message.root_tree.any_data
