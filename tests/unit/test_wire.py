"""From what lies at a broker to a message: whoever wrote it, and whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventseam.ports.wire import UNREADABLE, Place, Style, inward, outward

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLAIN = Style(plain="order.placed")
HEADER = st.tuples(
    st.sampled_from(["content-type", "event-id", "Correlation-ID", "ce_specversion", "traceparent", "x"]) | st.text(),
    st.none() | st.binary(max_size=40) | st.text(max_size=40) | st.just(b"application/cloudevents+json"),
)


def read(*headers, body=b"{}", key=b"o1", style=PLAIN):
    return inward(headers, body, Place(7, "order", "order-0-7", key), style)


def test_a_plain_messages_ids_are_read_in_any_case():
    envelope = read(("Event-ID", b"a-1"), ("CORRELATION-ID", b"flow")).envelope
    assert ("order.placed", "a-1", "flow", "o1") == (envelope.type, envelope.id, envelope.correlation_id, envelope.key)


@pytest.mark.parametrize("trace, expected", [(TRACE, TRACE), ("00-0-0-00", None), ("", None)])
def test_a_plain_message_goes_on_with_the_trace_that_it_came_with_if_that_is_one(trace, expected):
    got = read(("Traceparent", trace))
    assert (None, expected) == (got.problem, got.envelope.trace)


def test_a_plain_message_has_its_ids_also_where_its_channel_does_not_say_which_type_it_is():
    got = read(("event-id", b"a-1"), style=Style())
    assert ("plain:order", "a-1", "o1", None) == (got.envelope.type, got.envelope.id, got.envelope.key, got.problem)


@pytest.mark.parametrize("body", [b"{}", b"\xff"])
def test_a_plain_message_that_is_a_dead_letter_is_copied_byte_by_byte(body):
    headers, copied = outward(read(body=body, style=Style()), Style())
    assert (body, "plain:order") == (copied, headers["ce_type"])


def test_a_plain_message_without_headers_has_the_name_of_its_place_as_id_and_starts_a_flow():
    envelope = read(key=None).envelope
    assert ["order-0-7"] * 3 == [envelope.id, envelope.correlation_id, envelope.key]


@pytest.mark.parametrize("style", [PLAIN, Style()])
def test_a_header_that_we_do_not_read_need_not_be_text(style):
    ours = [("content-type", b"application/cloudevents+json"), ("x", b"\xff")]
    body = b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t"}'
    assert None is read(*ours, body=body, style=style).problem
    assert None is read(("schema", b"\x00\xff"), ("y", None)).problem


@pytest.mark.parametrize("name", ["event-id", "Correlation-ID", "content-type", "traceparent", "ce_id", "CE-type"])
def test_a_header_that_we_read_is_named_if_it_is_no_text(name):
    got = read((name, b"\xff"))
    assert (UNREADABLE, "order-0-7") == (got.envelope.type, got.envelope.id)
    assert f"its header {name.lower()} is not text in UTF-8" == got.problem


@pytest.mark.parametrize("headers", [[("x", b"y" * 9_000)], [("x" * 9_000, b"")], [("x", "ü" * 4_097)]])
def test_a_plain_messages_headers_have_the_bounds_of_all_headers(headers):
    assert "headers of more than 8,192 bytes." == read(*headers).problem
    assert None is read(("x", b"y" * 8_000)).problem


def test_a_message_without_a_value_is_one_with_an_empty_body():
    got = read(body=None)
    assert (None, b"", "order.placed") == (got.problem, got.body, got.envelope.type)


@given(st.lists(HEADER, max_size=70), st.none() | st.binary(), st.none() | st.binary(), st.booleans())
def test_whatever_lies_there_becomes_a_message_with_its_bytes(headers, body, key, is_plain):
    got = read(*headers, body=body, key=key, style=PLAIN if is_plain else Style())
    assert 7 == got.position
    assert got.envelope.id
    assert got.envelope.key
    if got.problem is not None:
        assert (body or b"") == got.body
