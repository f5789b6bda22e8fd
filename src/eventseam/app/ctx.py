"""What a handler gets beside its message: `Ctx` records what it wants, and nothing happens before the handler returned.

A message is encoded when it is published, so that changing the object afterwards changes nothing. Refused here, while
the handler runs: an event that is sent, a command that is published, an internal message of another service, and any
use of a context whose attempt is over (a task left behind must not lose what it publishes in silence).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, overload

import msgspec

from eventseam.app.tools import Tools
from eventseam.clock import Seams
from eventseam.contracts.message import MessageType, message_type
from eventseam.delivery.handler import Incoming, Outgoing, Record, outgoing
from eventseam.errors import ContractError, EventseamError, WiringError
from eventseam.ports.sql import Sql

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import TextClause
    from sqlalchemy.sql.dml import UpdateBase
    from typing_extensions import TypeVar  # its `default` is for checkers only: importing it would cost 12 ms

    from eventseam.contracts.envelope import Envelope
    from eventseam.ports.sql import Row

    D_co = TypeVar("D_co", covariant=True, default=object)
else:
    from typing import TypeVar

    D_co = TypeVar("D_co", covariant=True)


class Inline(NamedTuple):
    """An inline handler: it runs inside the record of whoever published."""

    seat: Seat
    call: Callable[[Any, Any], Any]
    is_async: bool
    refuse: Callable[[object], None]


class Route(NamedTuple):
    """Where a message of one type goes: into the record, and to these inline handlers."""

    type: MessageType[Any]
    inline: tuple[Inline, ...]


class Notes(msgspec.Struct, gc=False):
    """What one attempt has noted so far. `queue` holds internal events that inline handlers have not seen yet.

    A Struct because one is made per message: half the cost of a dataclass.
    """

    writes: list[tuple[str, Sequence[object]]]
    messages: list[Outgoing]
    queue: list[tuple[Route, object, Sequence[Incoming]]]
    sql: Sql

    def close(self, answer: object = None) -> Record:
        """End the attempt: what was noted becomes the record, and noting more raises EventseamError."""
        record = Record(self.writes, self.messages, answer)
        self.writes = self.messages = CLOSED_LIST
        self.sql = CLOSED_SQL
        return record


class ClosedList(list[Any]):
    """Notes of an attempt that is over."""

    def append(self, _item: object) -> None:
        """Raise EventseamError: what is noted now would be lost."""
        raise_closed()

    def extend(self, _items: Iterable[object]) -> None:
        """Raise EventseamError: as above."""
        raise_closed()


class ClosedSql:
    """The transaction of an attempt that is over, or that never had one."""

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:  # noqa: ARG002 - the port's
        """Raise EventseamError."""
        raise_closed(statement)

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:  # noqa: ARG002 - the port's
        """Raise EventseamError."""
        raise_closed(statement)

    async def changed(self, statement: str, *args: object) -> int:  # noqa: ARG002 - the port's
        """Raise EventseamError."""
        raise_closed(statement)


def raise_closed(statement: str = "") -> NoReturn:
    """Raise EventseamError for a use of ctx or tx after the handler returned."""
    what = f" for {statement!r}" if statement else ""
    message = (
        f"ctx or tx was used{what} after its handler had returned, so nothing could be recorded. "
        "Await the tasks that the handler starts before it returns."
    )
    raise EventseamError(message)


CLOSED_LIST = ClosedList()
CLOSED_SQL = ClosedSql()


class Publisher:
    """What one service may publish and send. Each message type is looked up once, then remembered."""

    def __init__(self, service: str, commands: frozenset[str], foreign: frozenset[str]) -> None:
        """Know the service, the names of its `commands`, and the internal channels that are `foreign` to it."""
        self.service = service
        self.events: dict[type, Route] = {}
        self.commands: dict[type, Route] = {}
        self._own_commands = commands
        self._foreign = foreign
        self._inline: dict[type, list[Inline]] = {}

    def hear(self, cls: type, handler: Inline) -> None:
        """From now on, run `handler` for each published event of `cls`, after those that were there before."""
        self._inline.setdefault(cls, []).append(handler)
        self.events.pop(cls, None)

    def event_route(self, event: object) -> Route:
        """Look up an event's class. Raises ContractError for what this service may not publish."""
        route = self._route(event, "event", "publish() takes events", "send() it")
        self.events[type(event)] = route
        return route

    def command_route(self, command: object) -> Route:
        """Look up a command's class. Raises ContractError for what this service may not send."""
        route = self._route(command, "command", "send() takes commands", "publish() it")
        self.commands[type(command)] = route
        return route

    def event(self, event: object) -> Outgoing:
        """Encode an event now. Raises ContractError as `event_route` does, or if it does not fit its contract."""
        return outgoing(event, (self.events.get(type(event)) or self.event_route(event)).type)

    def _route(self, message: object, kind: str, rule: str, fix: str) -> Route:
        cls = type(message)
        known = message_type(cls)
        if known.kind != kind:
            raise ContractError(f"{rule}; {cls.__name__} ({known.wire}) is declared as {known.kind}: {fix} instead.")
        if known.channel.internal:
            self._check_internal(known)
        return Route(known, tuple(self._inline.get(cls, ())))

    def _check_internal(self, known: MessageType[Any]) -> None:
        channel = known.channel.name
        if channel in self._foreign:
            raise ContractError(
                f"{known.cls.__name__} is on the internal channel {channel!r} of another service than "
                f"{self.service!r}. Use a message of a public channel, or declare the channel without internal=True."
            )
        if known.kind == "command" and known.name not in self._own_commands:
            raise ContractError(
                f"{known.cls.__name__} is on the internal channel {channel!r} and {self.service!r} has no handler for "
                f"it, so nobody would ever take it. Add @{self.service}.handle({known.cls.__name__})."
            )


@dataclass(frozen=True, slots=True)
class Seat:
    """What stays the same from one message of a handler to the next."""

    service: str
    handler: str
    deps: Any
    seams: Seams
    publisher: Publisher
    tools: Tools


class Ctx(Generic[D_co]):
    """The context of one attempt at one message (or one batch): what the handler may know and what it may record.

    Nothing recorded here happens before the handler returned; if it raises, nothing happens at all. Afterwards all of
    it is applied once, together: the writes in order, then the messages in order. Usable from the handler's thread
    and from tasks that the handler awaits.
    """

    __slots__ = ("_batch", "_notes", "_seat", "_step")

    def __init__(self, seat: Seat, notes: Notes, batch: Sequence[Incoming], step: int = 0) -> None:
        """`step` counts the inline events of one record; 0 is the handler that got the message itself."""
        self._seat = seat
        self._notes = notes
        self._batch = batch
        self._step = step

    @overload
    def write(self, sql: str, /, *args: object) -> None: ...
    @overload
    def write(self, sql: UpdateBase | TextClause, /, *rows: Mapping[str, Any]) -> None: ...
    def write(self, sql: Any, /, *args: Any) -> None:
        """Record one statement with its parameters ($1, $2, …). It runs when the record is applied, in this order.

        Or SQLAlchemy's insert(), update() or delete(), with the values in it or as rows beside it: `insert(Order)`
        kept in a constant, and `{"id": …}` beside it, costs least. Raises WiringError for what cannot be recorded.
        """
        if sql.__class__ is str:
            self._notes.writes.append((sql, args))
        else:
            self._notes.writes.extend(self._seat.tools.recorded(sql, args))

    def add(self, instance: object) -> None:
        """Record the INSERT of a new object of a class that SQLAlchemy maps, as it is now; only its columns.

        Defaults of Python are evaluated now and set on the object. Raises WiringError for what only a Session can do.
        """
        self._notes.writes.extend(self._seat.tools.added(instance))

    def publish(self, event: object) -> None:
        """Record an event, encoded now. Raises ContractError for a command or an object that breaks its contract.

        Inline handlers of the event run after the current handler returned; they get this very object.
        """
        publisher = self._seat.publisher
        route = publisher.events.get(type(event)) or publisher.event_route(event)
        known = route.type
        details = None if known.details is None else known.details_of(event)
        key, body = known.key_of(event), known.encode(event)
        made = Outgoing(known, known.wire, known.channel.name, key, body, details)  # as `outgoing` does
        self._notes.messages.append(made)
        if route.inline:
            self._notes.queue.append((route, event, self._batch))

    def send(self, command: object) -> None:
        """Record a command, encoded now. Raises ContractError for an event or an object that breaks its contract."""
        publisher = self._seat.publisher
        route = publisher.commands.get(type(command)) or publisher.command_route(command)
        self._notes.messages.append(outgoing(command, route.type))

    @property
    def deps(self) -> D_co:
        """What the service's `deps` yielded when the app started."""
        deps: D_co = self._seat.deps
        return deps

    @property
    def envelope(self) -> Envelope:
        """The envelope of the message; of the first one in a batch; for an inline handler that of the outer message."""
        return self._incoming().envelope

    @property
    def attempt(self) -> int:
        """Which attempt this is; 1 is the first."""
        return self._incoming().attempt

    @property
    def sequence(self) -> int:
        """The message's position in its journal or log: rises within one key, so that older state can be dropped."""
        return self._incoming().envelope.sequence

    @property
    def idempotency_key(self) -> str:
        """`service/handler/message id`: the same at every attempt, for calls to others that must happen once.

        Inline events add their number within the record. A batch hashes its ids: the key is that of this very batch.
        """
        seat = self._seat
        key = f"{seat.service}/{seat.handler}/{identity(self._batch)}"
        return f"{key}/{self._step}" if self._step else key

    def now(self) -> datetime:
        """The wall clock, aware, in UTC, from the app's seams."""
        return self._seat.seams.clock.now()

    def new_id(self) -> str:
        """A new UUIDv7 as text, from the app's seams."""
        return self._seat.seams.ids.new()

    def should_stop(self) -> bool:
        """Whether the engine wants to stop: a long handler then raises or returns early; nothing is forced on it."""
        return self._incoming().should_stop()

    def _incoming(self) -> Incoming:
        if not self._batch:
            raise WiringError("There is no message here: a transaction opened outside a handler has no envelope.")
        return self._batch[0]


def identity(batch: Sequence[Incoming]) -> str:
    """The message's id, or for several messages 32 hex digits that stand for their ids in this order."""
    if len(batch) == 1:
        return batch[0].envelope.id
    from hashlib import sha256

    return sha256("\n".join(one.envelope.id for one in batch).encode()).hexdigest()[:32]
