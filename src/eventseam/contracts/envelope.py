"""The envelope: everything a message carries beside its body, the same in the journal and on every transport."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Envelope(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One message's envelope. Cheap to make, hence unchecked: the wire codec checks it when it is written or read.

    `time` is aware. `key` orders the message within its channel. `correlation_id` names the flow, `causation_id` the
    message that caused this one. `trace` is the W3C traceparent of the flow's start. `sequence` is the position in its
    source, 0 while it is not recorded. `details` is a notification's link.
    """

    id: str
    type: str
    source: str
    channel: str
    key: str
    time: datetime
    correlation_id: str
    causation_id: str | None = None
    trace: str | None = None
    sequence: int = 0
    content_type: str = "application/json"
    schema_id: str | None = None
    details: str | None = None
