"""What all transports share of the wire: from a message to headers and body, and back. Pure.

Reading is total: what no envelope can be made of comes with its `problem`, and becomes a dead letter, raw bytes kept.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from eventseam.contracts.cloudevents import STRUCTURED, UNKNOWN_TIME, Mode, as_written, from_wire, to_wire, trace_of
from eventseam.contracts.codec import DEFAULT_CAPS, Caps
from eventseam.contracts.envelope import Envelope
from eventseam.contracts.message import KEY_BYTES_MAX, flaw_of
from eventseam.contracts.registry import PLAIN
from eventseam.errors import TooLarge, Undecodable
from eventseam.ports.transport import DEAD_LETTERS, Received

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_OURS = ("content-type", STRUCTURED.encode())
_HEADERS_OF_OURS = 4
_READ = frozenset({"content-type", "event-id", "correlation-id", "traceparent"})
_NAME_SHOWN = 64
UNREADABLE = "unreadable"
"""The type of a message of which no envelope can be made."""


class Style(NamedTuple):
    """How a channel's messages travel: the mode of CloudEvents, and which type a plain message is taken for.

    A plain message has no attributes of CloudEvents. Without `plain` it has a type that nothing knows, and becomes a
    dead letter; with it such dead letters can be read.
    """

    mode: Mode = "structured"
    plain: str | None = None


class Place(NamedTuple):
    """Where a message lies: its position in its slot, its channel, and a name that no other message ever has.

    `key` is what the broker orders by, if it has one; `time` is when the broker took the message.
    """

    position: int
    channel: str
    name: str
    key: bytes | str | None
    time: datetime = UNKNOWN_TIME


def outward(message: Received, style: Style, prefix: str = "ce_") -> tuple[dict[str, str], bytes]:
    """Headers and body of a message. Raises ContractError for one that could not be read back.

    The copy of a dead letter of which no envelope could be made has the body that came: its attributes are headers.
    """
    body = message.body if isinstance(message.body, bytes) else message.body.encode("utf-8", "surrogateescape")
    is_as_it_came = message.envelope.type.startswith((UNREADABLE, PLAIN))
    mode: Mode = "binary" if is_as_it_came else style.mode
    headers, wire = to_wire(message.envelope, body, mode=mode, prefix=prefix)
    if message.headers:
        headers.update(message.headers)
    return headers, wire


def as_ours(
    headers: Sequence[tuple[str, bytes | str | None]], body: bytes | None, channel: str, key: bytes | None
) -> tuple[Envelope, bytes] | None:
    """Envelope and body of a message as `outward` writes it, structured; None for any other, which is for `inward`.

    Only a short way to the same result: nearly all messages are ours.
    """
    if not headers or headers[0] != _OURS or len(headers) > _HEADERS_OF_OURS or body is None or key is None:
        return None
    found = as_written(body)
    is_ours = found is not None and found[0].channel == channel and found[0].key.encode() == key
    return found if is_ours else None


def inward(
    headers: Iterable[tuple[str, bytes | str | None]],
    body: bytes | None,
    place: Place,
    style: Style,
    caps: Caps = DEFAULT_CAPS,
) -> Received:
    """The message that lies at `place`, whatever it is. Never raises.

    The order that the broker keeps is that of its own key: the envelope gets that one. A message without any is alone.
    The copy of a dead letter has its headers.
    """
    raw = body or b""
    try:
        names = _text_of(headers, caps)
        key = _key_of(place.key)
        if _is_plain(names):
            return Received(place.position, _plain(_bounded(names, caps), key, place, style), _sized(raw, caps))
        envelope, data = from_wire(names, raw, caps=caps, received=place.time)
    except (Undecodable, TooLarge) as error:
        return Received(place.position, _unreadable(place), raw, str(error))
    key = key or envelope.id
    if envelope.key != key or envelope.channel != place.channel:
        envelope = _moved(envelope, key, place.channel)
    extra = names if place.channel.endswith(DEAD_LETTERS) else None
    return Received(place.position, envelope, data, None, extra)


def _moved(envelope: Envelope, key: str, channel: str) -> Envelope:
    """An envelope with another key and channel (msgspec.structs.replace costs four times as much)."""
    return Envelope(
        id=envelope.id,
        type=envelope.type,
        source=envelope.source,
        channel=channel,
        key=key,
        time=envelope.time,
        correlation_id=envelope.correlation_id,
        causation_id=envelope.causation_id,
        trace=envelope.trace,
        sequence=envelope.sequence,
        content_type=envelope.content_type,
        schema_id=envelope.schema_id,
        details=envelope.details,
    )


def _text_of(headers: Iterable[tuple[str, bytes | str | None]], caps: Caps) -> dict[str, str]:
    """Headers as text; of one that is given twice the last counts. One that we do not read may be anything."""
    names: dict[str, str] = {}
    for name, value in headers:
        names[name] = _text(name, value) if isinstance(value, bytes) else value or ""
    if len(names) > caps.headers_max:
        raise TooLarge(f"{len(names)} headers; the cap is {caps.headers_max}.")
    return names


def _text(name: str, value: bytes) -> str:
    """A header as text, empty for one that is none and not read. Raises Undecodable for one that is read."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        lower = name[:_NAME_SHOWN].lower()
        if lower in _READ or lower.startswith(("ce_", "ce-")):
            raise Undecodable(f"its header {lower} is not text in UTF-8") from None
        return ""


def _key_of(key: bytes | str | None) -> str | None:
    """A broker's key as text; None for a message that has none. Raises Undecodable."""
    if not key:
        return None
    try:
        text = key.decode() if isinstance(key, bytes) else key
    except UnicodeDecodeError:
        raise Undecodable("its key is not text in UTF-8") from None
    flaw = flaw_of(text, KEY_BYTES_MAX)
    if flaw:
        raise Undecodable(f"its key {flaw}")
    return text


def _is_plain(names: Mapping[str, str]) -> bool:
    """Whether a message has no attributes of CloudEvents at all."""
    content_type = names.get("content-type", "")
    if content_type.startswith("application/cloudevents") or "ce_specversion" in names or "ce-specversion" in names:
        return False
    lower = {name.lower(): value.lower() for name, value in names.items()}
    is_structured = lower.get("content-type", "").startswith("application/cloudevents")
    return not is_structured and "ce_specversion" not in lower and "ce-specversion" not in lower


def _bounded(names: Mapping[str, str], caps: Caps) -> dict[str, str]:
    """The headers of a plain message by lower-case name. Raises TooLarge."""
    if sum(len(text.encode("utf-8", "replace")) for pair in names.items() for text in pair) > caps.header_bytes_max:
        raise TooLarge(f"headers of more than {caps.header_bytes_max:,} bytes.")
    return {name.lower(): value for name, value in names.items()}


def _plain(names: Mapping[str, str], key: str | None, place: Place, style: Style) -> Envelope:
    """The envelope of a plain message. Raises Undecodable."""
    message_id = names.get("event-id") or place.name
    for name, text in (("event-id", message_id), ("correlation-id", names.get("correlation-id", ""))):
        flaw = flaw_of(text, KEY_BYTES_MAX)
        if flaw:
            raise Undecodable(f"its header {name} {flaw}")
    return Envelope(
        id=message_id,
        type=style.plain or f"{PLAIN}{place.channel}",
        source=place.channel,
        channel=place.channel,
        key=key or message_id,
        time=place.time,
        correlation_id=names.get("correlation-id") or message_id,
        trace=trace_of(names.get("traceparent")),
    )


def _sized(body: bytes, caps: Caps) -> bytes:
    if len(body) > caps.body_bytes_max:
        raise TooLarge(f"body of {len(body):,} bytes; the cap is {caps.body_bytes_max:,}. Send a link to large data.")
    return body


def _unreadable(place: Place) -> Envelope:
    """The envelope of a message that has none of its own, in its own lane if its key can be read."""
    try:
        key = _key_of(place.key)
    except Undecodable:
        key = None
    return Envelope(
        id=place.name,
        type=UNREADABLE,
        source=place.channel,
        channel=place.channel,
        key=key or place.name,
        time=place.time,
        correlation_id=place.name,
    )
