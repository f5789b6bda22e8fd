"""CloudEvents 1.0 on the wire: one JSON document ("structured", the default) or attributes in headers ("binary").

What is written can be read back, equal to the last field: envelopes that could not be are refused when written. Reading
trusts nothing: every flaw is Undecodable or TooLarge. `subject` and `partitionkey` both carry the key: the first is
what the message is about, the second is what brokers order by. Values are plain text; a transport whose headers cannot
hold it escapes them. Of a foreign event's missing extensions, `partitionkey` is its subject or else its id, and
`correlationid` is its id: it starts a flow.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from eventseam.contracts.codec import DEFAULT_CAPS, Caps, checked_body
from eventseam.contracts.envelope import Envelope
from eventseam.contracts.message import KEY_BYTES_MAX, LINK_BYTES_MAX, flaw_of
from eventseam.errors import ContractError, TooLarge, Undecodable

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

Mode = Literal["structured", "binary"]
STRUCTURED = "application/cloudevents+json"
JSON = "application/json"
UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
"""The time of a foreign event that states none, where the reader names no other."""

_SEQUENCE_MAX = 2**63 - 1
_SEQUENCE_DIGITS = 20
_PREFIXES = ("ce_", "ce-")
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+ *(;.*)?", re.ASCII)
_WRAPPING_BYTES_MAX = 65_536  # what a structured document may add to its data


class _Document(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A structured event. Also the attributes of a binary one, as text."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    channel: str | None = None
    partitionkey: str | None = None
    sequence: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    dataref: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: bytes | None = None


_ENCODE = msgspec.json.Encoder().encode
_DOCUMENT = msgspec.json.Decoder(_Document)
_TEXT = msgspec.json.Decoder(str)
_SYNTAX = msgspec.json.Decoder(msgspec.Raw)
_ATTRIBUTES = frozenset(_Document.__struct_fields__) - {"data", "data_base64", "datacontenttype"}


def to_wire(envelope: Envelope, body: bytes, *, mode: Mode, prefix: str = "ce_") -> tuple[dict[str, str], bytes]:
    """Headers and body for a transport. `prefix` begins binary attribute headers: "ce_" (Kafka) or "ce-" (most others).

    JSON bodies are embedded as they are, all others (also broken JSON, which must arrive as it is) as base64.
    Raises ContractError for an envelope that could not be read back.
    """
    flaw = _flaw(envelope)
    if flaw is not None:
        raise ContractError(f"message {envelope.id[:100]!r} of type {envelope.type[:100]!r} cannot travel: {flaw}.")
    headers = {"event-id": envelope.id}
    if envelope.trace is not None:
        headers["traceparent"] = envelope.trace
    document = _document(envelope)
    if mode == "structured":
        _embed(document, envelope.content_type, body)
        return {"content-type": STRUCTURED, **headers}, _ENCODE(document)
    headers["content-type"] = envelope.content_type
    for name in _Document.__struct_fields__:
        value: object = getattr(document, name)
        if value is not None and name in _ATTRIBUTES:
            headers[prefix + name] = value.isoformat() if isinstance(value, datetime) else str(value)
    return headers, body


def from_wire(
    headers: Mapping[str, str], body: bytes, *, caps: Caps = DEFAULT_CAPS, received: datetime | None = None
) -> tuple[Envelope, bytes]:
    """Envelope and body from a transport, in either mode. `received` is the time of an event that states none.

    Header names are read in any case; "ce_" and "ce-" both begin attributes. Raises Undecodable or TooLarge only.
    """
    names = _checked_headers(headers, caps)
    content_type = names.get("content-type", "")
    media_type = _media_type(content_type)
    hop = names.get("traceparent")
    if media_type == STRUCTURED:
        return from_document(body, caps=caps, received=received or UNKNOWN_TIME, hop=hop)
    if media_type.startswith("application/cloudevents"):
        raise Undecodable(f"content type {media_type[:100]!r} is not supported; send {STRUCTURED}")
    document = _read_attributes(names)
    document.datacontenttype = content_type or None
    body = _sized(body, caps)
    envelope = _envelope(document, received or UNKNOWN_TIME, hop)
    flaw = _flaw(envelope)
    if flaw is not None:
        raise Undecodable(f"not a CloudEvent that can be trusted: {flaw}")
    return envelope, body


def from_document(
    body: bytes, *, caps: Caps = DEFAULT_CAPS, received: datetime = UNKNOWN_TIME, hop: str | None = None
) -> tuple[Envelope, bytes]:
    """Envelope and body of one structured document; `hop` is a trace context beside it. Raises as `from_wire`."""
    document = _read_document(body, caps)
    data = _data(document, caps)
    envelope = _envelope(document, received, hop)
    flaw = _flaw(envelope, is_text=_is_plain(body, len(body) - len(data)))
    if flaw is not None:
        raise Undecodable(f"not a CloudEvent that can be trusted: {flaw}")
    return envelope, data


def as_written(body: bytes) -> tuple[Envelope, bytes] | None:
    """What `from_document` gives for a document as `to_wire` writes it in nearly all cases; None for any other.

    One look at the whole in place of one at each attribute: it is short, has no escapes, and embeds JSON.
    """
    if len(body) > DEFAULT_CAPS.body_bytes_max or body.count(b"{") + body.count(b"[") > DEFAULT_CAPS.depth_max:
        return None
    try:
        it = _DOCUMENT.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if it.data is msgspec.UNSET or it.data_base64 is not None or it.specversion != "1.0":
        return None
    data, trace, time = bytes(it.data), it.traceparent, it.time
    if not _is_plain(body, len(body) - len(data)) or trace is None or time is None or time.tzinfo is None:
        return None
    if not (it.id and it.source and it.type and it.partitionkey and it.correlationid and _TRACE.fullmatch(trace)):
        return None
    number = it.sequence or "0"
    if it.datacontenttype != JSON or not (number.isdigit() and len(number) <= _SEQUENCE_DIGITS):
        return None
    sequence = int(number)
    if sequence > _SEQUENCE_MAX:
        return None
    envelope = Envelope(
        id=it.id,
        type=it.type,
        source=it.source,
        channel=it.channel or "",
        key=it.partitionkey,
        time=time,
        correlation_id=it.correlationid,
        causation_id=it.causationid,
        trace=trace,
        sequence=sequence,
        schema_id=it.dataschema,
        details=it.dataref,
    )
    return envelope, data


def _is_plain(document: bytes, around_data: int) -> bool:
    """Whether no attribute of a JSON document can be too long or unprintable: it is ASCII without escapes."""
    return around_data <= KEY_BYTES_MAX and document.isascii() and b"\\" not in document and b"\x7f" not in document


def trace_of(header: str | None) -> str | None:
    """The trace context in a header `traceparent`: one that is not well-formed is none (W3C §4.3)."""
    return header if header is not None and _TRACE.fullmatch(header) else None


def _document(envelope: Envelope) -> _Document:
    return _Document(
        specversion="1.0",
        id=envelope.id,
        source=envelope.source,
        type=envelope.type,
        subject=envelope.key,
        time=envelope.time.astimezone(UTC),
        datacontenttype=envelope.content_type,
        dataschema=envelope.schema_id,
        channel=envelope.channel,
        partitionkey=envelope.key,
        sequence=f"{envelope.sequence:020d}" if envelope.sequence else None,
        correlationid=envelope.correlation_id,
        causationid=envelope.causation_id,
        traceparent=envelope.trace,
        dataref=envelope.details,
    )


def _envelope(document: _Document, received: datetime, hop: str | None) -> Envelope:
    """The envelope of a document; `hop` is the trace context of the message that it came in."""
    if document.specversion != "1.0":
        raise Undecodable(f"specversion is {document.specversion[:20]!r}, not '1.0'")
    return Envelope(
        id=document.id,
        type=document.type,
        source=document.source,
        channel=document.channel or "",
        key=document.partitionkey or document.subject or document.id,
        time=document.time or received,
        correlation_id=document.correlationid or document.id,
        causation_id=document.causationid,
        trace=trace_of(hop) if document.traceparent is None else document.traceparent,
        sequence=_sequence(document.sequence),
        content_type=document.datacontenttype or JSON,
        schema_id=document.dataschema,
        details=document.dataref,
    )


def _sequence(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _SEQUENCE_DIGITS):
        raise Undecodable("sequence is not a decimal number of up to 20 digits")
    return int(text)


def _flaw(envelope: Envelope, *, is_text: bool = False) -> str | None:
    """Why an envelope cannot travel, or None. The same rule for writing and reading.

    `is_text` says that all its texts are known to be short and printable.
    """
    if not (envelope.id and envelope.type and envelope.source and envelope.key and envelope.correlation_id):
        return "id, type, source, key and correlation id must not be empty"
    if envelope.time.tzinfo is None:
        return "its time has no offset from UTC"
    if not 0 <= envelope.sequence <= _SEQUENCE_MAX:
        return "its sequence is out of range"
    if envelope.trace is not None and not _TRACE.fullmatch(envelope.trace):
        return "its traceparent is not a W3C trace context"
    if envelope.content_type != JSON and not _is_for_data(envelope.content_type):
        return "its content type is not a media type for data"
    return None if is_text else _text_flaw(envelope)


def _is_for_data(content_type: str) -> bool:
    """Whether a content type is one, and not one that would make a binary event look like a structured one."""
    return bool(_MEDIA_TYPE.fullmatch(content_type)) and not content_type.lower().startswith("application/cloudevents")


def _text_flaw(envelope: Envelope) -> str | None:
    links = (envelope.schema_id or "", envelope.details or "", envelope.content_type)
    names = (envelope.id, envelope.type, envelope.source, envelope.key, envelope.correlation_id, envelope.channel)
    all_of_it = "".join((*names, envelope.causation_id or "", *links))
    if len(all_of_it) <= KEY_BYTES_MAX and all_of_it.isascii() and all_of_it.isprintable():
        return None  # nearly always: all of it together is shorter than one may be
    for name in ("id", "type", "source", "channel", "key", "correlation_id", "causation_id"):
        flaw = flaw_of(getattr(envelope, name) or "", KEY_BYTES_MAX)
        if flaw:
            return f"its {name} {flaw}"
    flaws = (flaw_of(link, LINK_BYTES_MAX) for link in links)
    return next((f"its schema id, details or content type {flaw}" for flaw in flaws if flaw), None)


def _embed(document: _Document, content_type: str, body: bytes) -> None:
    if not body:
        return
    if _is_json(content_type) and _is_valid(body):
        document.data = msgspec.Raw(body)
    else:
        document.data_base64 = body


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(content_type: str) -> bool:
    media_type = _media_type(content_type)
    return media_type == JSON or media_type.endswith(("/json", "+json"))


def _is_valid(body: bytes) -> bool:
    try:
        _SYNTAX.decode(body)
        body.decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _read_document(body: bytes, caps: Caps) -> _Document:
    """A structured document, bounded before it is decoded: its data in base64 and wrapping come on top of the body."""
    wrapped = _WRAPPED if caps is DEFAULT_CAPS else _wrapped(caps)
    return _trapped(_DOCUMENT, checked_body(body, wrapped))


def _wrapped(caps: Caps) -> Caps:
    return Caps(body_bytes_max=caps.body_bytes_max * 4 // 3 + _WRAPPING_BYTES_MAX, depth_max=caps.depth_max + 1)


_WRAPPED = _wrapped(DEFAULT_CAPS)


def _data(document: _Document, caps: Caps) -> bytes:
    data = document.data
    if document.data_base64 is not None:
        if data is not msgspec.UNSET:
            raise Undecodable("a CloudEvent has data or data_base64, not both")
        return _sized(document.data_base64, caps)
    if data is msgspec.UNSET:
        return b""
    raw = _sized(bytes(data), caps)
    is_text = raw.startswith(b'"') and not _is_json(document.datacontenttype or JSON)
    return _trapped(_TEXT, raw).encode() if is_text else raw


def _trapped(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"not a CloudEvents document: {error}") from None


def _sized(body: bytes, caps: Caps) -> bytes:
    if len(body) > caps.body_bytes_max:
        raise TooLarge(f"body of {len(body):,} bytes; the cap is {caps.body_bytes_max:,}. Send a link to large data.")
    return body


def _read_attributes(names: dict[str, str]) -> _Document:
    """The attributes among the headers of a binary event."""
    found: dict[str, str] = {}
    for name, value in names.items():
        if name.startswith(_PREFIXES) and name[3:] in _ATTRIBUTES:
            if name[3:] in found:
                raise Undecodable(f"attribute '{name[3:]}' is given twice")
            found[name[3:]] = value
    if "specversion" not in found:
        raise Undecodable(f"no CloudEvent: neither content type {STRUCTURED} nor header ce_specversion")
    try:
        return msgspec.convert(found, _Document)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Undecodable(f"not a CloudEvent: {error}") from None


def _checked_headers(headers: Mapping[str, str], caps: Caps) -> dict[str, str]:
    """The headers by lower-case name, within their caps and free of control characters."""
    if len(headers) > caps.headers_max:
        raise TooLarge(f"{len(headers)} headers; the cap is {caps.headers_max}.")
    try:
        size = sum(map(len, headers)) + sum(map(len, headers.values()))
        text = "".join((*headers, *headers.values())) if size <= caps.header_bytes_max else ""
    except TypeError:
        raise Undecodable("a header is not text") from None
    if size > caps.header_bytes_max or (
        not text.isascii() and len(text.encode("utf-8", "replace")) > caps.header_bytes_max
    ):
        raise TooLarge(f"headers of more than {caps.header_bytes_max:,} bytes.")
    if flaw_of(text, caps.header_bytes_max):
        raise Undecodable("a header has control characters or lone surrogates")
    names = {name.lower(): value for name, value in headers.items()}
    if len(names) != len(headers):
        raise Undecodable("a header is given twice, in upper and in lower case")
    return names
