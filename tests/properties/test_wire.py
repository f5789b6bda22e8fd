"""Envelopes survive the wire in both modes, and the `cloudevents` package agrees with what they say."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import msgspec
from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from eventseam.contracts.cloudevents import as_written, from_document, from_wire, to_wire
from eventseam.contracts.envelope import Envelope
from tests.properties.kinds import times

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
ascii_texts = st.text("abc-XYZ.019", min_size=1, max_size=20)
hexes = st.text("0123456789abcdef", min_size=16, max_size=16)
traces = st.builds(
    "00-{}{}-{}-01".format,
    hexes.filter(lambda text: text.strip("0")),
    hexes,
    hexes.filter(lambda text: text.strip("0")),
)
modes = st.sampled_from(["structured", "binary"])
prefixes = st.sampled_from(["ce_", "ce-"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
json_bodies = json_values.map(msgspec.json.encode)
bodies = st.one_of(
    st.tuples(st.just("application/json"), json_bodies),
    st.tuples(st.just("application/vnd.shop+json; charset=utf-8"), json_bodies),
    st.tuples(st.just("application/json"), st.binary().filter(lambda body: body == body.strip())),
    st.tuples(st.sampled_from(["text/plain", "avro/binary"]), st.binary()),
)


def envelopes(text: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Envelope]:
    """Any envelope that may travel; its content type is set with the body."""
    return st.builds(
        Envelope,
        id=text,
        type=text,
        source=text,
        channel=text,
        key=text,
        time=times.filter(lambda time: 1 < time.year < 9999),
        correlation_id=text,
        causation_id=st.none() | text,
        trace=st.none() | traces,
        sequence=st.integers(0, 2**63 - 1),
        schema_id=st.none() | text,
        details=st.none() | text,
    )


@given(envelopes(), bodies, modes, prefixes)
def test_what_goes_on_the_wire_comes_back_equal(envelope, typed_body, mode, prefix):
    content_type, body = typed_body
    envelope = msgspec.structs.replace(envelope, content_type=content_type)
    headers, sent = to_wire(envelope, body, mode=mode, prefix=prefix)
    assert (envelope, body) == from_wire(headers, sent)
    assert envelope.id == headers["event-id"]


@given(envelopes(), json_bodies)
def test_a_structured_message_is_one_json_document_with_its_data_as_json(envelope, body):
    _, sent = to_wire(envelope, body, mode="structured")
    document = json.loads(sent)
    assert envelope.type == document["type"]
    assert json.loads(body) == document["data"]


@given(envelopes(ascii_texts) | envelopes(), json_bodies)
def test_the_short_way_to_read_a_document_has_the_same_end_as_the_long_one(envelope, body):
    _, sent = to_wire(envelope, body, mode="structured")
    assert as_written(sent) in (None, from_document(sent))


@given(envelopes(ascii_texts), json_bodies.filter(lambda body: body != b"null"))
def test_the_cloudevents_package_reads_our_structured_messages(envelope, body):
    headers, sent = to_wire(envelope, body, mode="structured")
    event = http.from_structured(http.HTTPMessage(headers, sent), JSONFormat())
    assert_same(envelope, event)
    assert json.loads(body) == event.get_data()


@given(envelopes(ascii_texts), json_bodies)
def test_the_cloudevents_package_reads_our_binary_messages(envelope, body):
    headers, sent = to_wire(envelope, body, mode="binary")
    raw = {name: value.encode() for name, value in headers.items()}
    event = kafka.from_binary(kafka.KafkaMessage(raw, envelope.key, sent), JSONFormat())
    assert_same(envelope, event)
    assert json.loads(body) == event.get_data()


@given(envelopes(ascii_texts), st.dictionaries(st.text(), st.integers(), min_size=1))
def test_we_read_what_the_cloudevents_package_writes(envelope, data):
    event = CloudEvent(attributes(envelope), data)
    message = kafka.to_binary(event, JSONFormat())
    headers = {name: value.decode() for name, value in message.headers.items()}
    read, body = from_wire(headers, message.value)
    assert (envelope, data) == (read, json.loads(body))
    structured = http.to_structured(event, JSONFormat())
    read, body = from_wire(structured.headers, structured.body)
    assert (envelope, data) == (read, json.loads(body))


@given(envelopes(ascii_texts), st.binary(min_size=1))
def test_binary_data_travels_in_base64_as_the_specification_says(envelope, body):
    envelope = msgspec.structs.replace(envelope, content_type="application/octet-stream")
    _, sent = to_wire(envelope, body, mode="structured")
    assert body == base64.b64decode(json.loads(sent)["data_base64"])


def attributes(envelope: Envelope) -> dict[str, object]:
    """The envelope as attributes for the package, which wants no None."""
    found = {
        "specversion": "1.0",
        "id": envelope.id,
        "source": envelope.source,
        "type": envelope.type,
        "subject": envelope.key,
        "time": envelope.time.astimezone(UTC),
        "datacontenttype": envelope.content_type,
        "dataschema": envelope.schema_id,
        "channel": envelope.channel,
        "partitionkey": envelope.key,
        "sequence": f"{envelope.sequence:020d}",
        "correlationid": envelope.correlation_id,
        "causationid": envelope.causation_id,
        "traceparent": envelope.trace,
        "dataref": envelope.details,
    }
    return {name: value for name, value in found.items() if value is not None}


def assert_same(envelope: Envelope, event: CloudEvent) -> None:
    """The package sees what we said."""
    expected = attributes(envelope)
    if not envelope.sequence:
        del expected["sequence"]
    seen = event.get_attributes()
    assert {name: expected[name] for name in expected if name != "time"} == {
        name: seen[name] for name in seen if name != "time"
    }
    time = seen["time"]
    assert isinstance(time, datetime)
    assert envelope.time == time
