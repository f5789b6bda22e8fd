"""Reading what lies at a broker never raises: hostile headers, keys and bodies become messages with a problem."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventseam import Envelope
from eventseam.contracts.codec import Caps
from eventseam.ports.transport import Received
from eventseam.ports.wire import UNREADABLE, Place, Style, as_ours, inward, outward

TIME = datetime(2026, 1, 2, tzinfo=UTC)
ENVELOPE = Envelope(
    id="m-1",
    type="order.placed",
    source="shop",
    channel="order",
    key="o-1",
    time=TIME,
    correlation_id="c-1",
    causation_id="m-0",
)
OURS = Received(3, ENVELOPE, b'{"order_id":"o-1"}')
PLAIN = Style(plain="order.placed")


def place(key=b"o-1", channel="order"):
    return Place(3, channel, f"{channel}-0-3", key, TIME)


def wire(style=None, message=OURS):
    headers, body = outward(message, style or Style())
    return [(name, value.encode()) for name, value in headers.items()], body


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_what_goes_out_comes_in_again(mode):
    headers, body = wire(Style(mode))
    found = inward(headers, body, place(), Style(mode))
    assert (OURS.envelope, OURS.body, None) == (
        msgspec.structs.replace(found.envelope, trace=OURS.envelope.trace),
        bytes(found.body),
        found.problem,
    )


def test_the_short_way_of_our_own_messages_leads_where_the_long_one_does():
    traced = msgspec.structs.replace(ENVELOPE, trace="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    headers, body = wire(message=Received(3, traced, OURS.body))
    short, long = as_ours(headers, body, "order", b"o-1"), inward(headers, body, place(), Style())
    assert short is not None
    assert (long.envelope, bytes(long.body)) == (short[0], bytes(short[1]))


def test_the_brokers_own_key_is_the_one_that_counts():
    headers, body = wire()
    assert "o-2" == inward(headers, body, place(b"o-2"), Style()).envelope.key


def test_a_message_without_a_key_is_alone():
    headers, body = wire()
    assert "m-1" == inward(headers, body, place(None), Style()).envelope.key


@pytest.mark.parametrize("key", [b"\xff", b"x" * 10_000, b"\x00"])
def test_a_key_that_is_no_text_is_a_problem_in_a_lane_of_its_own(key):
    headers, body = wire()
    found = inward(headers, body, place(key), Style())
    assert found.problem is not None
    assert "key" in found.problem
    assert (UNREADABLE, "order-0-3", body) == (found.envelope.type, found.envelope.key, found.body)


HOSTILE = {
    "too many headers": [(f"x{n}", b"y") for n in range(65)],
    "headers that are too long": [("ce_specversion", b"1.0"), ("x", b"y" * 10_000)],
    "a header of ours that is no text": [("content-type", b"\xff\xfe")],
    "an attribute that is no text": [("ce_specversion", b"1.0"), ("ce_id", b"\xff")],
    "binary mode without an id": [("ce_specversion", b"1.0"), ("ce_type", b"t")],
    "another version of CloudEvents": [
        ("ce_specversion", b"9.9"),
        ("ce_id", b"1"),
        ("ce_type", b"t"),
        ("ce_source", b"s"),
    ],
    "structured mode without a document": [("content-type", b"application/cloudevents+json")],
    "structured in a format that nobody reads": [("content-type", b"application/cloudevents+avro")],
    "a batch": [("content-type", b"application/cloudevents-batch+json")],
    "a null for a value": [("ce_specversion", None), ("content-type", None)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_a_problem_and_the_body_is_kept(name):
    found = inward(HOSTILE[name], b"\x00not json", place(), Style())
    assert found.problem
    assert (UNREADABLE, "order", "o-1", b"\x00not json") == (
        found.envelope.type,
        found.envelope.channel,
        found.envelope.key,
        found.body,
    )


def test_a_plain_message_is_taken_where_its_channel_says_for_what():
    headers = [("Event-Id", b"e-1"), ("correlation-id", b"c-9"), ("x-anything", b"\xff\x00")]
    found = inward(headers, b"{}", place(), PLAIN)
    assert (None, "e-1", "order.placed", "c-9", "o-1", TIME) == (
        found.problem,
        found.envelope.id,
        found.envelope.type,
        found.envelope.correlation_id,
        found.envelope.key,
        found.envelope.time,
    )


def test_a_plain_message_that_says_nothing_is_named_by_where_it_lies():
    found = inward([], b"{}", place(None), PLAIN)
    assert ("order-0-3", "order-0-3") == (found.envelope.id, found.envelope.key)


def test_a_plain_message_has_a_type_that_nothing_knows_where_its_channel_takes_none():
    assert "order.placed" != inward([], b"{}", place(), Style()).envelope.type


@pytest.mark.parametrize(
    "headers", [[("event-id", b"x" * 10_000)], [("correlation-id", b"\x00")], [("event-id", b"\xff")]]
)
def test_a_plain_message_with_an_id_that_cannot_be_is_a_problem(headers):
    assert inward(headers, b"{}", place(), PLAIN).problem


def test_a_body_beyond_the_cap_is_a_problem_whatever_it_is():
    caps = Caps(body_bytes_max=10)
    for style in (Style(), PLAIN):
        assert "cap" in str(inward([], b"x" * 11, place(), style, caps).problem)
    headers, body = wire()
    assert inward(headers, body, place(), Style(), caps).problem


def test_a_tombstone_is_a_message_too():
    assert b"" == inward([], None, place(), PLAIN).body


def test_copies_of_dead_letters_keep_their_headers_and_others_do_not():
    headers, body = wire(message=Received(3, ENVELOPE, OURS.body, headers={"retry-count": "3"}))
    copy = inward(headers, body, place(channel="order.dlq"), Style())
    assert copy.headers is not None
    assert "3" == copy.headers["retry-count"]
    assert inward(headers, body, place(), Style()).headers is None


NAMES = st.text(max_size=20) | st.sampled_from(["content-type", "ce_specversion", "ce_id", "event-id", "traceparent"])


@given(
    headers=st.lists(st.tuples(NAMES, st.binary(max_size=40) | st.text(max_size=40) | st.none()), max_size=8),
    body=st.none() | st.binary(max_size=200),
    key=st.none() | st.binary(max_size=40),
    plain=st.booleans(),
)
def test_nothing_at_all_makes_reading_raise(headers, body, key, plain):
    found = inward(headers, body, place(key), PLAIN if plain else Style())
    assert (3, "order") == (found.position, found.envelope.channel)
    assert found.envelope.key
    assert found.envelope.id
