"""A real database: PostgreSQL 15 or newer, by asyncpg on the loop and by psycopg in the threads of `def` handlers.

Writes and transactions run on a bounded pool, READ COMMITTED; the journal is polled on one connection of its own, in
autocommit. Every connection is checked when it is opened (see postgres_connect). Trouble is StorageUnavailable and is
tried again; only a COMMIT whose reply was lost is OutcomeUnknown.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from eventseam.errors import EventseamError, OutcomeUnknown, StorageUnavailable
from eventseam.storage.postgres_binding import NO_BEGIN, AsyncpgSql, Connection, SharedSql
from eventseam.storage.postgres_blocking import Blocking
from eventseam.storage.postgres_connect import BEGIN, FAILED, PostgresOptions, Role, connect
from eventseam.storage.postgres_errors import (
    ends_connection,
    is_out_of_reach,
    is_to_repeat,
    is_trouble,
    out_of_reach,
    told,
)
from eventseam.storage.postgres_notices import Notices
from eventseam.storage.postgres_pool import Pool, Watch, close
from eventseam.storage.postgres_schema import PATIENCE, bring_up_to_date, run_tables
from eventseam.storage.postgres_url import address_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from eventseam.clock import Seams
    from eventseam.ports.sql import Opening, Operation, Row, Sql

__all__ = ["PostgresOptions", "PostgresStore"]

T = TypeVar("T")

_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_REPEATS_MAX: Final = 5


class PostgresStore:
    """A PostgreSQL database. See ports.sql.Store."""

    dialect = "postgresql"
    slots = 16

    def __init__(self, url: str, seams: Seams, options: PostgresOptions | None = None) -> None:
        """Read the URL; connections come with the first operations. Raises SettingsError."""
        self._seams = seams
        self._options = options or PostgresOptions()
        self._address = address_of(url)
        self._is_known = False
        silence = self._options.statement_seconds_max + self._options.answer_seconds_max
        self._watch = Watch(silence, seams.clock.monotonic)
        self._pool = Pool(lambda: self._connect("write"), self._options.writes_max)
        self._handlers = Pool(lambda: self._connect("tx"), self._options.transactions_max)
        self._gate = asyncio.Semaphore(self._options.transactions_max)
        self._asking = asyncio.Lock()
        self._asker: Connection | None = None
        self._generation = 0
        self._blocking = Blocking(self._address, self._options, seams)
        self._notices = Notices(lambda: self._connect("listen"), self._options, seams)

    @property
    def transactions_max(self) -> int:
        """See ports.sql.Store."""
        return self._options.transactions_max

    @property
    def generation(self) -> int:
        """See ports.sql.Store."""
        return self._generation

    async def migrate(self, tables: Sequence[str] = ()) -> None:
        """See ports.sql.Store. Another process that migrates is waited for."""
        async with self._pool.lend(f"{BEGIN}; {PATIENCE}") as connection:
            sql = AsyncpgSql(connection)
            try:
                await bring_up_to_date(sql, connection.raw, self._seams)
                await run_tables(connection.raw, tables)
            except BaseException as error:  # noqa: BLE001 - raised again there
                await self._undo(connection, error)
            await self._commit(connection)
            connection.forget()

    async def ask(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Store."""
        async with self._asking:
            connection = self._asker
            if connection is None or not connection.is_open:
                connection = self._asker = await self._connect("poll")
                self._generation += 1
            try:
                return await AsyncpgSql(connection).rows(statement, *args)
            except Exception as error:
                if is_to_repeat(error):
                    connection.forget()
                if is_to_repeat(error) or is_trouble(error):
                    raise self._trouble(error) from error
                raise

    async def change(self, statement: str, *args: object) -> int:
        """See ports.sql.Store. In one trip, where `write` makes three; a lost connection is an unknown outcome."""
        for left in reversed(range(_REPEATS_MAX)):
            async with self._pool.lend(NO_BEGIN) as connection:
                self._seams.at("begin")
                try:
                    changed = await AsyncpgSql(connection).changed(statement, *args)
                except Exception as error:
                    if ends_connection(error) or not connection.is_open:
                        connection.raw.terminate()
                        raise OutcomeUnknown(f"{told(self._address.shown, error)} It may have committed.") from error
                    if is_to_repeat(error):
                        connection.forget()
                        if left:
                            continue
                    elif not is_trouble(error):
                        raise
                    raise self._trouble(error) from error
                self._seams.at("post-commit")
                return changed
        raise AssertionError("unreachable")

    async def read(self, operation: Operation[T]) -> T:
        """See ports.sql.Store."""
        async with self._pool.lend(_BEGIN_READ) as connection:
            try:
                result = await operation(AsyncpgSql(connection))
                await connection.command("COMMIT")
            except BaseException as error:  # noqa: BLE001 - raised again there
                await self._undo(connection, error)
            return result

    async def write(self, operation: Operation[T]) -> T:
        """See ports.sql.Store. After a deadlock the operation runs again at once."""
        for left in reversed(range(_REPEATS_MAX)):
            async with self._pool.lend(BEGIN) as connection:
                try:
                    return await self._run(connection, operation)
                except Exception as error:
                    if not is_to_repeat(error):
                        raise
                    if not left:
                        raise self._trouble(error) from error
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def transaction(self, opening: Opening | None = None) -> AsyncGenerator[Sql]:
        """See ports.sql.Store. A deadlock is StorageUnavailable: only the caller can repeat its statements."""
        async with self._gate, self._handlers.lend(BEGIN, opening) as connection:
            sql = SharedSql(connection)
            try:
                self._seams.at("begin")
                yield sql
                self._seams.at("pre-commit")
                ending = await sql.ending()
            except BaseException as error:  # noqa: BLE001 - raised again there
                await self._undo(connection, error, may_repeat=False)
            await self._commit(connection, ending, may_repeat=False)
            self._seams.at("post-commit")

    async def blocking(self, body: Callable[[Sql], T], opening: Opening | None = None) -> T:
        """See ports.sql.Store. Cancelled, it takes the connection away from a body that hangs."""
        async with self._gate:
            return await self._blocking.run(body, opening)

    def is_unavailable(self, error: BaseException) -> bool:
        """See ports.sql.Store."""
        return isinstance(error, StorageUnavailable) or is_trouble(error)

    def announce(self) -> None:
        """See ports.sql.Store. It goes out with `hear`: a process that does not hear is found when others poll."""
        self._notices.announce()

    async def hear(self, wake: Callable[[], None]) -> None:
        """See ports.sql.Store."""
        await self._notices.hear(wake)

    async def close(self) -> None:
        """See ports.sql.Store."""
        for pool in (self._pool, self._handlers):
            await pool.close(self._options.answer_seconds_max)
        async with self._asking:
            if self._asker is not None:
                await close(self._asker)
            self._asker = None
        await self._blocking.close()

    async def _run(self, connection: Connection, operation: Operation[T]) -> T:
        try:
            self._seams.at("begin")
            sql = AsyncpgSql(connection)
            result = await operation(sql)
            self._seams.at("pre-commit")
            ending = await sql.ending()
        except BaseException as error:  # noqa: BLE001 - raised again there
            await self._undo(connection, error)
        await self._commit(connection, ending)
        self._seams.at("post-commit")
        return result

    async def _undo(self, connection: Connection, error: BaseException, *, may_repeat: bool = True) -> NoReturn:
        """Roll back, or close a connection that does not answer; then raise the error, or what it means."""
        is_lost = not connection.is_open
        await connection.roll_back()
        if is_to_repeat(error):
            connection.forget()
            if may_repeat:
                raise error
            raise self._trouble(error) from error
        if isinstance(error, StorageUnavailable) or not isinstance(error, Exception):
            raise error
        if is_lost or is_trouble(error):
            raise self._trouble(error) from error
        raise error

    async def _commit(self, connection: Connection, ending: str = "COMMIT", *, may_repeat: bool = True) -> None:
        if not connection.is_open:
            raise StorageUnavailable(f"{self._address.shown}: the connection was lost. Nothing was committed.")
        connection.since = self._seams.clock.monotonic()
        try:
            status = await connection.raw.execute(ending)
        except Exception as error:
            if ends_connection(error) or not connection.is_open:
                connection.raw.terminate()
                raise OutcomeUnknown(f"{told(self._address.shown, error)} It may have committed.") from error
            if is_out_of_reach(error) and ending != "COMMIT":  # what is appended with it
                await self._undo(connection, out_of_reach(told(self._address.shown, error)))
            await self._undo(connection, error, may_repeat=may_repeat)
        except BaseException as error:  # noqa: BLE001 - raised again there
            await self._undo(connection, error)
        finally:
            connection.since = math.inf
        if status == "ROLLBACK":
            raise EventseamError(FAILED)

    async def _connect(self, role: Role) -> Connection:
        clock = self._seams.clock
        connection = await connect(self._address, self._options, role, clock.monotonic, known=self._is_known)
        self._is_known = True
        self._watch.watch(connection)
        return connection

    def _trouble(self, error: BaseException) -> StorageUnavailable:
        return StorageUnavailable(told(self._address.shown, error))
