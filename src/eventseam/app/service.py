"""A service: its handlers, its tables and its dependencies. Declaring it does no I/O and touches no other service.

Mistakes that one service can see are refused where they are declared; those between services when an App is made of
them (`app.wiring`).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from eventseam.app.declare import (
    SERVICE_NAME,
    Declaration,
    Declared,
    Kind,
    Options,
    Policies,
    declaration,
    tx_options,
    types_of,
)
from eventseam.app.decorators import D, Handle, HandleTx, M, On, OnBatch, OnTx
from eventseam.errors import WiringError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from eventseam.app.publish import Outlet
    from eventseam.contracts.message import MessageType
    from eventseam.delivery.handler import Mode
    from eventseam.ports.transport import Starts

M2 = TypeVar("M2")
M3 = TypeVar("M3")

THREADS_LIMIT = 1_000


class Service(Generic[D]):
    """A bounded context: one name, one set of tables, one consumer of every channel that its handlers listen to.

    `deps` is called once at start; what its context manager yields is `ctx.deps` of every handler, and it is closed
    after the last handler ended. `tables` is SQL that may run at every start (`CREATE TABLE IF NOT EXISTS …`), or such
    SQL for each kind of database: `{"sqlite": …, "postgresql": …}`.
    `threads_max` bounds how many `def` handlers run at once. `starts` is where it begins to read a journal in which it
    has no position yet: at the oldest message that is still there, now, or at the first one of a time that has come.
    Raises WiringError for a name that is not `[a-z][a-z0-9_-]{0,62}`, and for a time without a zone.
    """

    def __init__(
        self,
        name: str,
        *,
        deps: Callable[[], AbstractAsyncContextManager[D]] | None = None,
        tables: str | Mapping[str, str] = "",
        threads_max: int = 8,
        starts: Starts = "beginning",
    ) -> None:
        """Declare the service."""
        if not SERVICE_NAME.fullmatch(name):
            raise WiringError(
                f"Service({name!r}): a name is a small letter, then at most 62 small letters, digits, _ or -. "
                "It becomes part of table rows, topics and consumer groups."
            )
        if not 1 <= threads_max <= THREADS_LIMIT:
            raise WiringError(f"Service({name!r}): threads_max={threads_max} must be within 1 and {THREADS_LIMIT}.")
        if not _is_start(starts):
            raise WiringError(
                f'Service({name!r}): starts={starts!r} must be "beginning", "now" or a datetime with a zone, such as '
                "datetime(2026, 1, 31, tzinfo=UTC)."
            )
        self.name = name
        self.starts: Starts = starts
        self.deps_factory = deps
        self.tables = tables
        self.threads_max = threads_max
        self._declarations: list[Declaration] = []
        self._outlet_kept: Outlet | None = None

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        """Every handler, in the order of the code."""
        return tuple(self._declarations)

    def tables_on(self, dialect: str) -> str:
        """The SQL of `tables` for a kind of database. Raises WiringError if it names others only."""
        if isinstance(self.tables, str):
            return self.tables
        if dialect not in self.tables:
            raise WiringError(
                f"Service({self.name!r}): tables= has SQL for {', '.join(sorted(self.tables))}, but the database is "
                f"{dialect}. Add {dialect!r} to tables=."
            )
        return self.tables[dialect]

    def message_types(self) -> tuple[MessageType[Any], ...]:
        """Every type that a handler takes, once, in the order of the code."""
        return tuple(dict.fromkeys(known for each in self._declarations for known in each.types))

    def handle(self, command: type[M], /, **policies: Unpack[Policies]) -> Handle[M, D]:
        """The one handler of a command. What it returns is the caller's answer, once its record is committed."""
        return Handle(self._adder(("handle", "command", "record"), (command,), Options(**policies)))

    def handle_tx(self, command: type[M], /, **policies: Unpack[Policies]) -> HandleTx[M, D]:
        """The one handler of a command, in a transaction of its own: it may read and lock before it decides."""
        return HandleTx(self._adder(("handle_tx", "command", "tx"), (command,), tx_options(policies)))

    @overload
    def on(self, event: type[M], /, *, inline: bool = False, **policies: Unpack[Policies]) -> On[M, D]: ...
    @overload
    def on(
        self, event: type[M], second: type[M2], /, *, inline: bool = False, **policies: Unpack[Policies]
    ) -> On[M | M2, D]: ...
    @overload
    def on(
        self,
        event: type[M],
        second: type[M2],
        third: type[M3],
        /,
        *,
        inline: bool = False,
        **policies: Unpack[Policies],
    ) -> On[M | M2 | M3, D]: ...
    @overload
    def on(self, *events: type[Any], inline: bool = False, **policies: Unpack[Policies]) -> On[Any, D]: ...
    def on(self, *events: type[Any], inline: bool = False, **policies: Unpack[Policies]) -> On[Any, D]:
        """A handler of events. Checkers compare up to three types with the function; from four on, any passes.

        `inline=True`, for events of an internal channel: it runs inside the record of the handler that published, in
        the same transaction and under that handler's policies. A `def` then runs where its publisher runs.
        """
        if inline:
            self._check_inline(events, policies)
        return On(self._adder(("on", "event", "record"), events, Options(**policies), inline=inline))

    @overload
    def on_tx(self, event: type[M], /, **policies: Unpack[Policies]) -> OnTx[M, D]: ...
    @overload
    def on_tx(self, event: type[M], second: type[M2], /, **policies: Unpack[Policies]) -> OnTx[M | M2, D]: ...
    @overload
    def on_tx(
        self, event: type[M], second: type[M2], third: type[M3], /, **policies: Unpack[Policies]
    ) -> OnTx[M | M2 | M3, D]: ...
    @overload
    def on_tx(self, *events: type[Any], **policies: Unpack[Policies]) -> OnTx[Any, D]: ...
    def on_tx(self, *events: type[Any], **policies: Unpack[Policies]) -> OnTx[Any, D]:
        """A handler of events in a transaction of its own, one per message: it may read and lock."""
        return OnTx(self._adder(("on_tx", "event", "tx"), events, tx_options(policies)))

    def on_batch(
        self,
        event: type[M],
        /,
        *,
        max: int = 500,  # noqa: A002 - reads as English at the call
        **policies: Unpack[Policies],
    ) -> OnBatch[M, D]:
        """A handler of up to `max` events at once, of different keys or of one, each key's in order.

        The batch succeeds or fails as one.
        """
        return OnBatch(self._adder(("on_batch", "event", "batch"), (event,), Options(**policies, batch_max=max)))

    def publish(self, connection: object, event: object, *, correlation_id: str | None = None) -> str:
        """Append `event` inside the open transaction of the user's own connection; its message id.

        A Session or AsyncSession of SQLAlchemy keeps it and inserts it last of all when it commits; a connection of
        sqlite3, psycopg, SQLAlchemy or Django appends at once, so publish last on it. Delivered at least once after
        the commit, never before, and never if it is rolled back. Needs no running app. Raises NotInTransaction,
        Overloaded (a session: when it commits), ContractError, or WiringError, also for a connection that has to be
        awaited.
        """
        return self._outlet().publish(connection, event, correlation_id)

    async def publish_async(self, connection: object, event: object, *, correlation_id: str | None = None) -> str:
        """As `publish`, on a connection that is awaited (asyncpg, async psycopg, AsyncConnection) or on any other."""
        return await self._outlet().publish_async(connection, event, correlation_id)

    def _outlet(self) -> Outlet:
        from eventseam.app.publish import Outlet
        from eventseam.clock import Seams

        if self._outlet_kept is None:
            self._outlet_kept = Outlet(
                self.name, Seams()
            )  # kept: ids are drawn in blocks, while the caller holds locks
        return self._outlet_kept

    def _adder(
        self,
        form: tuple[str, Kind, Mode],
        classes: tuple[type[Any], ...],
        options: Options,
        *,
        inline: bool = False,
    ) -> Callable[[Callable[..., Any]], None]:
        verb, kind, mode = form
        types = types_of(classes, kind, f"{self.name}.{verb}")
        declared = Declared(self.name, verb, kind, mode, types, options, inline)

        def add(function: Callable[..., Any]) -> None:
            self._add(declaration(declared, function))

        return add

    def _add(self, new: Declaration) -> None:
        for old in self._declarations:
            if old.name == new.name:
                raise WiringError(
                    f"Service {self.name!r} has two handlers named {new.name!r}: {old.place} and {new.place}. "
                    'Rename one, or pass name="..." to its decorator.'
                )
            if new.kind == "command" and set(old.types) & set(new.types):
                raise WiringError(
                    f"{new.types[0].wire} has two handlers: {old.place} and {new.place}. "
                    "A command goes to exactly one: remove one, or publish an event."
                )
        self._declarations.append(new)

    def _check_inline(self, events: tuple[type[Any], ...], policies: Policies) -> None:
        for known in types_of(events, "event", f"{self.name}.on"):
            if not known.channel.internal:
                raise WiringError(
                    f"{self.name}.on({known.cls.__name__}, inline=True): channel {known.channel.name!r} is public. "
                    "Declare Channel(internal=True), or leave inline out."
                )
        unused = sorted(policies.keys() - {"name"})
        if unused:
            raise WiringError(
                f"{self.name}.on({events[0].__name__}, inline=True): {', '.join(unused)} cannot be kept, because an "
                "inline handler runs within its publisher's attempt. Set it on the publishing handler."
            )


def _is_start(starts: object) -> bool:
    return starts in ("beginning", "now") or (isinstance(starts, datetime) and starts.tzinfo is not None)
