"""CloudEvents: what goes on the wire to the letter, what foreign events may leave out, what hostile ones may not do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from eventseam.contracts.cloudevents import STRUCTURED, UNKNOWN_TIME, from_wire, to_wire
from eventseam.contracts.codec import Caps
from eventseam.contracts.envelope import Envelope
from eventseam.errors import ContractError, TooLarge, Undecodable

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
FULL = Envelope(
    id="019a",
    type="order.placed.v2",
    source="orders",
    channel="order",
    key="ord_1",
    time=datetime(2026, 11, 24, 12, 0, 0, 5, tzinfo=UTC),
    correlation_id="c1",
    causation_id="c0",
    trace=TRACE,
    sequence=17,
    schema_id="https://shop/schema/1",
    details="/orders/1",
)
BINARY = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "s", "ce_type": "t"}


def changed(**fields: object) -> Envelope:
    return msgspec.structs.replace(FULL, **fields)


def structured(**fields: object) -> tuple[dict[str, str], bytes]:
    document = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"} | fields
    return {"content-type": STRUCTURED}, json.dumps(document).encode()


def test_a_structured_message_says_everything_in_one_document():
    headers, body = to_wire(FULL, b'{"a":1.50}', mode="structured")
    assert {"content-type": "application/cloudevents+json", "event-id": "019a", "traceparent": TRACE} == headers
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "019a",
        "source": "orders",
        "type": "order.placed.v2",
        "subject": "ord_1",
        "time": "2026-11-24T12:00:00.000005Z",
        "datacontenttype": "application/json",
        "dataschema": "https://shop/schema/1",
        "channel": "order",
        "partitionkey": "ord_1",
        "sequence": "00000000000000000017",
        "correlationid": "c1",
        "causationid": "c0",
        "traceparent": TRACE,
        "dataref": "/orders/1",
        "data": {"a": 1.5},
    }
    assert b'"data":{"a":1.50}' in body


def test_a_binary_message_says_it_in_headers():
    headers, body = to_wire(FULL, b"{}", mode="binary", prefix="ce-")
    assert b"{}" == body
    assert ("1.0", "019a", "ord_1") == (headers["ce-specversion"], headers["ce-id"], headers["ce-partitionkey"])
    assert ("application/json", "019a", TRACE) == (headers["content-type"], headers["event-id"], headers["traceparent"])


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_what_is_absent_is_left_out(mode):
    bare = changed(causation_id=None, trace=None, sequence=0, schema_id=None, details=None)
    headers, body = to_wire(bare, b"", mode=mode)
    said = " ".join(headers) + body.decode()
    absent = ["causationid", "traceparent", "sequence", "dataschema", "dataref", '"data"', "base64"]
    assert [] == [name for name in absent if name in said]
    assert (bare, b"") == from_wire(headers, body)


def test_broken_json_arrives_as_it_was_so_that_its_raw_bytes_are_kept():
    for body in (b"{", b"\xff", b'{"a":NaN}', b"[" * 10_000):
        headers, sent = to_wire(FULL, body, mode="structured")
        assert (FULL, body) == from_wire(headers, sent)


def test_a_foreign_event_needs_the_four_required_attributes_only():
    envelope, body = from_wire({**BINARY, "content-type": "text/plain"}, b"hi")
    expected = Envelope(
        id="1",
        type="t",
        source="s",
        channel="",
        key="1",
        time=UNKNOWN_TIME,
        correlation_id="1",
        content_type="text/plain",
    )
    assert (expected, b"hi") == (envelope, body)


def test_a_foreign_event_without_time_has_the_time_of_its_reader():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert now == from_wire(BINARY, b"", received=now)[0].time


def test_a_foreign_subject_is_the_key_unless_a_partition_key_is_given():
    assert "about" == from_wire(BINARY | {"ce_subject": "about"}, b"")[0].key
    assert "pk" == from_wire(BINARY | {"ce_subject": "about", "ce_partitionkey": "pk"}, b"")[0].key


def test_header_names_are_read_in_any_case_and_with_both_prefixes():
    headers = {"CE-SpecVersion": "1.0", "Ce-Id": "1", "ce_source": "s", "ce-type": "t", "Content-Type": "text/plain"}
    assert "text/plain" == from_wire(headers, b"")[0].content_type


def test_unknown_extensions_are_tolerated():
    assert from_wire(BINARY | {"ce_color": "red"}, b"")
    assert from_wire(*structured(color="red", nested={"a": [1]}))


def test_text_data_of_a_foreign_event_is_its_text():
    assert b"hi\n" == from_wire(*structured(datacontenttype="text/plain", data="hi\n"))[1]
    assert b'"hi"' == from_wire(*structured(data="hi"))[1]


def test_the_hop_is_the_start_of_the_trace_where_no_start_is_given():
    assert TRACE == from_wire(BINARY | {"traceparent": TRACE}, b"")[0].trace
    assert from_wire(BINARY | {"traceparent": "garbage"}, b"")[0].trace is None


def test_the_start_of_the_trace_is_not_changed_by_a_hop():
    headers, body = to_wire(FULL, b"{}", mode="structured")
    headers["traceparent"] = TRACE.replace("b", "c")
    assert TRACE == from_wire(headers, body)[0].trace


def test_every_offset_is_written_as_utc():
    time = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=7)))
    assert time == from_wire(*to_wire(changed(time=time), b"", mode="structured"))[0].time


@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"type": ""},
        {"source": ""},
        {"key": ""},
        {"correlation_id": ""},
        {"key": "a\r\nx: y"},
        {"key": "a" * 513},
        {"key": "ä" * 257},
        {"source": "\ud800"},
        {"details": "/" + "a" * 1_024},
        {"trace": "00-zz"},
        {"sequence": -1},
        {"sequence": 2**63},
        {"content_type": "nonsense"},
        {"content_type": "application/cloudevents+json"},
        {"content_type": "text/plain\nx: y"},
        {"time": datetime(2026, 1, 1)},  # noqa: DTZ001 - the point of the test
    ],
)
def test_an_envelope_that_could_not_be_read_back_is_not_written(fields, mode):
    with pytest.raises(ContractError, match="cannot travel"):
        to_wire(changed(**fields), b"{}", mode=mode)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "application/cloudevents+avro"},
        {"content-type": "application/cloudevents-batch+json"},
        {name: BINARY[name] for name in BINARY if name != "ce_id"},
        BINARY | {"ce_specversion": "0.3"},
        BINARY | {"ce_id": ""},
        BINARY | {"ce-id": "2"},
        BINARY | {"CE_ID": "2"},
        BINARY | {"ce_time": "yesterday"},
        BINARY | {"ce_time": "2026-01-01T00:00:00"},
        BINARY | {"ce_time": "2026-13-01T00:00:00Z"},
        BINARY | {"ce_time": "2026-01-01T00:00:00Z; drop"},
        BINARY | {"ce_sequence": "-1"},
        BINARY | {"ce_sequence": "٣"},
        BINARY | {"ce_sequence": "9" * 20},
        BINARY | {"ce_sequence": "9" * 500},
        BINARY | {"ce_traceparent": "00-" + "0" * 32 + "-" + "b" * 16 + "-01"},
        BINARY | {"ce_partitionkey": "a\x00b"},
        BINARY | {"ce_subject": "x" * 513},
        BINARY | {"x": "a\r\nb"},
        BINARY | {"x\n": "a"},
        BINARY | {"x": "\x9b31m"},
        BINARY | {"x": "\ud800"},
        BINARY | {"content-type": "%s%n"},
        BINARY | {"x": b"bytes"},
        BINARY | {"x": None},
        BINARY | {1: "x"},
    ],
)
def test_malformed_headers_are_undecodable(headers):
    with pytest.raises(Undecodable):
        from_wire(headers, b"{}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff",
        b'{"specversion":"1.0"}',
        structured(id=1)[1],
        structured(id=None)[1],
        structured(id="a\u0000")[1],
        structured(time="soon")[1],
        structured(data_base64="***")[1],
        structured(data=1, data_base64="aGk=")[1],
        structured(sequence=5)[1],
        structured(datacontenttype="text/plain", data="\ud800")[1],
        structured()[1].replace(b'"t"', b"NaN"),
    ],
)
def test_malformed_documents_are_undecodable(body):
    with pytest.raises(Undecodable):
        from_wire({"content-type": STRUCTURED}, body)


def test_header_caps_are_number_and_bytes():
    with pytest.raises(TooLarge, match="65 headers; the cap is 64"):
        from_wire({f"h{at}": "" for at in range(65)}, b"")
    with pytest.raises(TooLarge, match="more than 8,192 bytes"):
        from_wire(BINARY | {"x": "a" * 8_192}, b"")
    with pytest.raises(TooLarge, match="more than 8,192 bytes"):
        from_wire(BINARY | {"x": "ä" * 4_100}, b"")


@pytest.mark.parametrize("headers", [BINARY, {"content-type": STRUCTURED}])
def test_a_gigabyte_is_refused_by_its_length_alone(headers):
    with pytest.raises(TooLarge):
        from_wire(headers, bytes(1 << 30))


def test_ten_thousand_levels_are_refused_before_decoding():
    body = b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    with pytest.raises(TooLarge):
        from_wire({"content-type": STRUCTURED}, body)


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
def test_a_body_of_exactly_the_cap_survives_both_wrappings(content_type):
    caps = Caps()
    body = b'"' + b"a" * (caps.body_bytes_max - 2) + b'"'
    for mode in ("structured", "binary"):
        sent = to_wire(changed(content_type=content_type), body, mode=mode)
        assert body == from_wire(*sent)[1]
        with pytest.raises(TooLarge):
            from_wire(*to_wire(changed(content_type=content_type), body[:-1] + b'a"', mode=mode))


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_longest_envelope_that_may_be_written_can_be_read(mode):
    text, link = "x" * 512, "y" * 1_024
    names = ("id", "type", "source", "channel", "key", "correlation_id", "causation_id")
    longest = changed(**dict.fromkeys(names, text), schema_id=link, details=link, content_type="a/" + "b" * 1_022)
    assert longest == from_wire(*to_wire(longest, b"{}", mode=mode))[0]


def test_the_deepest_body_allowed_survives_its_wrapping():
    body = b"[" * 64 + b"]" * 64
    assert body == from_wire(*to_wire(FULL, body, mode="structured"))[1]
