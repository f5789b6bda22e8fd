"""Transactions for handlers that read and lock: `Tx` for `async def`, `SyncTx` for `def`, over the same `Sql` port.

Statements run at once, inside one transaction per message; messages are recorded and appended last, under the locks
that the statements took. Both refuse to work after their handler returned.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic

from eventseam.app.ctx import CLOSED_SQL, D_co, Notes, raise_closed
from eventseam.app.lent import check_whole
from eventseam.ports.sql import run_sync

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from eventseam.app.ctx import Ctx
    from eventseam.app.tools import Tools
    from eventseam.contracts.envelope import Envelope
    from eventseam.delivery.handler import Record
    from eventseam.ports.sql import Row


class TxNotes(Notes, gc=True):
    """What one transaction has noted, and the session of the user's own tool that it has opened."""

    tools: Tools
    opened: Any = None
    broken: bool = False
    """An error left a block of Django's: its work is there in part."""

    def session(self, *, is_async: bool) -> Any:  # noqa: ANN401 - of either colour
        """The one session of this transaction, opened when it is first asked for."""
        if self.sql is CLOSED_SQL:
            raise_closed("tx.session")
        if self.opened is None:
            self.opened = self.tools.session(self.sql, is_async=is_async)
        return self.opened.session

    async def flush(self) -> None:
        """Send what the session holds. Raises EventseamError if a part of the transaction is missing."""
        if self.opened is not None:
            await self.opened.flush()
        check_whole(rolled_back=self.broken)

    def close(self, answer: object = None) -> Record:
        """As `Notes.close`, and end the session."""
        if self.opened is not None:
            self.opened.end()
        return super().close(answer)


class _Recording(Generic[D_co]):
    """The half of a transaction that records, the same in both colours."""

    __slots__ = ("_ctx", "_notes")

    def __init__(self, ctx: Ctx[D_co], notes: TxNotes) -> None:
        self._ctx = ctx
        self._notes = notes

    def publish(self, event: object) -> None:
        """Record an event, encoded now; it is appended last in this transaction. Raises ContractError as Ctx does."""
        self._ctx.publish(event)

    def send(self, command: object) -> None:
        """Record a command, encoded now; it is appended last in this transaction. Raises ContractError as Ctx does."""
        self._ctx.send(command)

    @property
    def deps(self) -> D_co:
        """What the service's `deps` yielded when the app started."""
        return self._ctx.deps

    @property
    def envelope(self) -> Envelope:
        """The message's envelope. Raises WiringError in a transaction that was not opened for a message."""
        return self._ctx.envelope

    @property
    def attempt(self) -> int:
        """Which attempt this is; 1 is the first."""
        return self._ctx.attempt

    @property
    def sequence(self) -> int:
        """The message's position in its journal or log: rises within one key."""
        return self._ctx.sequence

    @property
    def idempotency_key(self) -> str:
        """`service/handler/message id`: the same at every attempt."""
        return self._ctx.idempotency_key

    def now(self) -> datetime:
        """The wall clock, aware, in UTC, from the app's seams."""
        return self._ctx.now()

    def new_id(self) -> str:
        """A new UUIDv7 as text, from the app's seams."""
        return self._ctx.new_id()

    def should_stop(self) -> bool:
        """Whether the engine wants to stop."""
        return self._ctx.should_stop()


class Tx(_Recording[D_co]):
    """One transaction, awaited statement by statement. It commits after the handler returned, or not at all."""

    __slots__ = ()

    async def execute(self, sql: str, *args: object) -> int:
        """Run one statement now; the number of rows that it inserted, updated or deleted."""
        return await self._notes.sql.changed(sql, *args)

    async def fetch_one(self, sql: str, *args: object) -> Row | None:
        """Run one statement now; its first row (`row["name"]` or `row[0]`), or None if there is none."""
        rows = await self._notes.sql.rows(sql, *args)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, *args: object) -> Sequence[Row]:
        """Run one statement now; all its rows, in order."""
        return await self._notes.sql.rows(sql, *args)

    @property
    def session(self) -> AsyncSession:
        """SQLAlchemy's session in this transaction: flushed after the handler, before the messages; never committed.

        It is closed when the handler has returned. Raises WiringError or MissingExtraError.
        """
        session: AsyncSession = self._notes.session(is_async=True)
        return session


class SyncTx(_Recording[D_co]):
    """One transaction for a `def` handler. It commits after the handler returned, or not at all."""

    __slots__ = ()

    def execute(self, sql: str, *args: object) -> int:
        """Run one statement now; the number of rows that it inserted, updated or deleted."""
        return run_sync(self._notes.sql.changed(sql, *args))

    def fetch_one(self, sql: str, *args: object) -> Row | None:
        """Run one statement now; its first row (`row["name"]` or `row[0]`), or None if there is none."""
        rows = run_sync(self._notes.sql.rows(sql, *args))
        return rows[0] if rows else None

    def fetch_all(self, sql: str, *args: object) -> Sequence[Row]:
        """Run one statement now; all its rows, in order."""
        return run_sync(self._notes.sql.rows(sql, *args))

    @property
    def session(self) -> Session:
        """SQLAlchemy's session in this transaction: flushed after the handler, before the messages; never committed.

        It is closed when the handler has returned. Raises WiringError or MissingExtraError.
        """
        session: Session = self._notes.session(is_async=False)
        return session

    @contextmanager
    def django(self, using: str = "default") -> Generator[None]:
        """Inside this block Django's models of the database `using` work in this transaction, atomic() in savepoints.

        An error that leaves the block must leave the handler as well. Raises WiringError, if Django's database is
        another one than the app's, or MissingExtraError.
        """
        notes = self._notes
        if notes.sql is CLOSED_SQL:
            raise_closed("tx.django()")
        try:
            with notes.tools.django(notes.sql, using):
                yield
        except BaseException:
            notes.broken = True
            raise
