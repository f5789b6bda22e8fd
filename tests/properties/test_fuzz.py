"""No bytes and no headers, however hostile, raise anything but a ContractError."""

from __future__ import annotations

import contextlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from eventseam.contracts.cloudevents import STRUCTURED, from_wire, to_wire
from eventseam.contracts.message import message_type
from eventseam.contracts.registry import Registry
from eventseam.errors import ContractError, EventseamError
from tests.properties.kinds import CLASSES, messages
from tests.properties.test_wire import envelopes, json_values, modes

registry = Registry(message_type(cls) for cls in CLASSES)
wires = st.sampled_from([declared.wire for declared in registry.types])
NAMES = """specversion id source type subject time datacontenttype dataschema channel partitionkey sequence
correlationid causationid traceparent dataref data data_base64"""
attribute = st.sampled_from(NAMES.split())
anything = st.text() | st.text(st.characters()) | st.sampled_from(["1.0", "", "\x00", "00-zz", "9" * 30, "2026-13-01"])
header_names = st.one_of(
    st.builds(str.__add__, st.sampled_from(["ce_", "ce-", "CE_"]), attribute),
    st.sampled_from(["content-type", "Content-Type", "traceparent", "event-id"]),
    st.text(),
)
header_values = anything | st.sampled_from([STRUCTURED, "application/json", "application/cloudevents-batch+json"])


@given(wires, st.binary() | st.text() | st.text(st.characters()))
def test_arbitrary_bodies(wire, body):
    with contextlib.suppress(ContractError):
        registry.decode(wire, body)


@given(wires, json_values.map(msgspec.json.encode))
def test_arbitrary_json(wire, body):
    with contextlib.suppress(ContractError):
        registry.decode(wire, body)


@given(st.text(st.characters()), st.binary())
def test_arbitrary_type_names(wire, body):
    with contextlib.suppress(ContractError):
        registry.decode(wire, body)


@given(st.data())
def test_valid_bodies_with_one_part_overwritten(data):
    message = data.draw(st.sampled_from(CLASSES).flatmap(messages))
    declared = message_type(type(message))
    body = bytearray(declared.encode(message))
    at = data.draw(st.integers(0, len(body)))
    body[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    with contextlib.suppress(ContractError):
        declared.decode(bytes(body))


@given(st.dictionaries(header_names, header_values), st.binary())
def test_arbitrary_headers(headers, body):
    with contextlib.suppress(ContractError):
        from_wire(headers, body)


@given(st.dictionaries(attribute, anything | json_values))
def test_arbitrary_structured_attributes(attributes):
    body = msgspec.json.encode({"specversion": "1.0", "id": "1", "source": "s", "type": "t"} | _clean(attributes))
    with contextlib.suppress(ContractError):
        from_wire({"content-type": STRUCTURED}, body)


@given(st.data(), envelopes(), modes)
def test_valid_messages_with_one_header_replaced(data, envelope, mode):
    headers, body = to_wire(envelope, b'{"a":1}', mode=mode)
    headers[data.draw(st.sampled_from(list(headers)))] = data.draw(header_values)
    with contextlib.suppress(ContractError):
        from_wire(headers, body)


@given(st.dictionaries(header_names, header_values), st.binary(max_size=20))
def test_what_was_read_from_anyone_can_be_written_again(headers, body):
    try:
        envelope, read = from_wire(
            {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "s", "ce_type": "t"} | headers, body
        )
    except EventseamError:
        return
    for mode in ("structured", "binary"):
        again = from_wire(*to_wire(envelope, read, mode=mode))
        assert envelope == again[0]


def _clean(attributes):
    """Without lone surrogates, which no JSON encoder writes."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in attributes.items()
    }
