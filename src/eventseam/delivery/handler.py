"""What the engine knows of a handler: a name, the messages it takes, its policies, and how to run it.

The user's API (`app`) builds these values; the engine runs them. A run returns a `Record`: what the handler wants done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from eventseam.contracts.envelope import Envelope
from eventseam.contracts.message import MessageType, message_type
from eventseam.delivery.circuit import Circuit
from eventseam.delivery.policy import Retry
from eventseam.ports.sql import Sql

Mode = Literal["record", "tx", "batch"]
"""record: runs outside the transaction; tx: one transaction per message; batch: takes a list of messages."""


class Record(msgspec.Struct, gc=False):
    """What a handler wants: writes in order, then messages in order, and its answer. Nothing has happened yet.

    Here and below a Struct, since one is made per message: a tenth of the cost of a frozen dataclass. None of them can
    be part of a cycle, so the collector does not look at them.
    """

    writes: list[tuple[str, Sequence[object]]] = []
    messages: list[Outgoing] = []
    answer: object = None


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A message that is to be appended: its type, its key and its encoded body. Envelope fields come at the apply."""

    type: MessageType[Any]
    wire: str
    channel: str
    key: str
    body: bytes
    details: str | None = None


def outgoing(message: object, known: MessageType[Any] | None = None) -> Outgoing:
    """A message as it will be appended, encoded now. Raises ContractError if it does not fit its declared type."""
    known = known or message_type(type(message))
    key, body = known.key_of(message), known.encode(message)
    return Outgoing(known, known.wire, known.channel.name, key, body, known.details_of(message))


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One attempt: the decoded message, its envelope and which attempt this is (1 is the first)."""

    message: Any
    envelope: Envelope
    attempt: int = 1
    should_stop: Callable[[], bool] = lambda: False


RunAsync = Callable[[Sequence[Incoming]], Awaitable[Record]]
RunBlocking = Callable[[Sequence[Incoming]], Record]
RunAsyncTx = Callable[[Sequence[Incoming], Sql], Awaitable[Record]]
RunBlockingTx = Callable[[Sequence[Incoming], Sql], Record]


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler as the engine sees it. Exactly one of the four `run*` is set.

    `run` gets a list of one Incoming, or of up to `batch_max` in mode "batch". It raises Refused, NotYet or any error.
    A record that a `run_tx` returns holds messages only: its writes have already gone through the given Sql.
    """

    service: str
    name: str
    mode: Mode
    takes: Mapping[str, MessageType[Any]]  # wire name -> declared type, older versions included
    decode: Callable[[str, bytes | str], object]  # Registry.decode: wire name and body -> newest message
    retry: Retry
    circuit: Circuit
    timeout_seconds: float
    batch_max: int = 1
    run: RunAsync | None = None
    run_blocking: RunBlocking | None = None
    run_tx: RunAsyncTx | None = None
    run_blocking_tx: RunBlockingTx | None = None
