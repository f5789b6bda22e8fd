"""PostgreSQL by asyncpg: a pool for transactions, one connection for the tail, and psycopg for handlers in threads.

Transactions are READ COMMITTED and bounded in time on both sides. The tail is read on a connection of its own, outside
of any transaction; whenever that is opened again, `generation` says so.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from eventseam.errors import OutcomeUnknown, StorageUnavailable
from eventseam.storage.postgres_binding import PostgresSql, text_of
from eventseam.storage.postgres_blocking import BlockingPool
from eventseam.storage.postgres_connect import CONFLICTS, PostgresOptions, connect, is_lost, is_trouble, told
from eventseam.storage.postgres_schema import bring_up_to_date

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from eventseam.clock import Seams
    from eventseam.ports.sql import Operation, Row, Sql

T = TypeVar("T")

__all__ = ["PostgresOptions", "PostgresStore"]

SLOTS = 16
_CONFLICTS_MAX = 5
_ANNOUNCE_EVERY_SECONDS = 0.01
_LISTEN_CHECK_SECONDS = 10.0
_LISTEN_AGAIN_SECONDS = 1.0
_ROLLBACK_SECONDS = 5.0
_CHANNEL = "eventseam"


class PostgresStore:
    """A PostgreSQL database. See ports.sql.Store."""

    dialect = "postgresql"
    slots = SLOTS

    def __init__(self, url: str, seams: Seams, options: PostgresOptions | None = None) -> None:
        """Name the database; connections are opened when they are needed."""
        self._url = url
        self._seams = seams
        self._options = options or PostgresOptions()
        self.transactions_max = self._options.transactions_max
        self.generation = 0
        self._idle: list[asyncpg.Connection[Any]] = []
        self._free = asyncio.Semaphore(self._options.connections_max + self._options.transactions_max)
        self._reader: asyncpg.Connection[Any] | None = None
        self._reading = asyncio.Lock()
        self._blocking = BlockingPool(url, self._options)
        self._grown = asyncio.Event()
        self._is_closed = False

    async def migrate(self, tables: Sequence[str] = ()) -> None:
        """See ports.sql.Store."""

        async def operation(sql: Sql) -> None:
            await bring_up_to_date(sql, self._seams, tables)

        await self.write(operation)

    async def ask(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Store."""
        async with self._reading:
            connection = await self._own_reader()
            try:
                return await connection.fetch(text_of(statement), *args)
            except BaseException as error:
                if not isinstance(error, asyncpg.PostgresError) or connection.is_closed():
                    connection.terminate()  # whatever was cut off in the middle: a new one is a new generation
                raise self._translated(error) from error

    async def read(self, operation: Operation[T]) -> T:
        """See ports.sql.Store."""
        async with self._connection() as connection:
            try:
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                result = await operation(PostgresSql(connection))
                await connection.execute("ROLLBACK")
            except BaseException as error:
                await _roll_back(connection)
                raise self._translated(error) from error
            return result

    async def write(self, operation: Operation[T]) -> T:
        """See ports.sql.Store. After a deadlock or a serialization failure the operation runs again, a few times."""
        for attempt in range(_CONFLICTS_MAX):
            async with self._connection() as connection:
                try:
                    await self._begin(connection)
                    result = await operation(PostgresSql(connection))
                    await self._commit(connection)
                except BaseException as error:
                    await _roll_back(connection)
                    if getattr(error, "sqlstate", None) in CONFLICTS and attempt < _CONFLICTS_MAX - 1:
                        continue
                    raise self._translated(error) from error
                return result
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Sql]:
        """See ports.sql.Store."""
        async with self._connection() as connection:
            try:
                await self._begin(connection)
                yield PostgresSql(connection)
                await self._commit(connection)
            except BaseException as error:
                await _roll_back(connection)
                raise self._translated(error) from error

    async def blocking(self, body: Callable[[Sql], T]) -> T:
        """See ports.sql.Store. Cancelled, it takes the connection away from a body that hangs."""
        try:
            return await self._blocking.run(body, self._seams)
        except BaseException as error:
            if self.is_unavailable(error) and not isinstance(error, StorageUnavailable):
                raise StorageUnavailable(f"the database cannot work now: {told(error)}") from error
            raise

    def is_unavailable(self, error: BaseException) -> bool:
        """See ports.sql.Store."""
        return is_trouble(error) or self._blocking.is_trouble(error)

    def announce(self) -> None:
        """See ports.sql.Store. Needs `hear` to run, which has a connection for it."""
        self._grown.set()

    async def hear(self, wake: Callable[[], None]) -> None:
        """See ports.sql.Store."""
        while True:
            with suppress(StorageUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await self._hear_once(wake)
            await self._seams.clock.sleep(_LISTEN_AGAIN_SECONDS)

    async def close(self) -> None:
        """See ports.sql.Store."""
        self._is_closed = True
        for connection in (*self._idle, *([self._reader] if self._reader else [])):
            try:
                await connection.close(timeout=_ROLLBACK_SECONDS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()
        self._idle.clear()
        self._reader = None
        await self._blocking.close()

    async def _hear_once(self, wake: Callable[[], None]) -> None:
        connection = await connect(self._url, self._options)
        own = connection.get_server_pid()

        def heard(_connection: object, pid: int, _channel: str, _payload: object) -> None:
            if pid != own:
                wake()

        try:
            await connection.add_listener(_CHANNEL, heard)  # type: ignore[arg-type]
            while not connection.is_closed():
                try:
                    async with asyncio.timeout(_LISTEN_CHECK_SECONDS):
                        await self._grown.wait()
                except TimeoutError:
                    await connection.execute("SELECT 1")
                    continue
                self._grown.clear()
                await connection.execute(f"NOTIFY {_CHANNEL}")
                await self._seams.clock.sleep(_ANNOUNCE_EVERY_SECONDS)
        finally:
            connection.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[asyncpg.Connection[Any]]:
        """A connection of the pool. One that was cut off in the middle of something is not used again."""
        async with self._free:
            connection = await self._idle_or_new()
            try:
                yield connection
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError | GeneratorExit) or is_lost(error):
                    connection.terminate()
                raise
            finally:
                if connection.is_closed() or connection.is_in_transaction() or self._is_closed:
                    connection.terminate()
                else:
                    self._idle.append(connection)

    async def _idle_or_new(self) -> asyncpg.Connection[Any]:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await connect(self._url, self._options)

    async def _own_reader(self) -> asyncpg.Connection[Any]:
        if self._reader is None or self._reader.is_closed():
            self._reader = None
            self._reader = await connect(self._url, self._options)
            self.generation += 1
        return self._reader

    async def _begin(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute("BEGIN")
        self._seams.at("begin")

    async def _commit(self, connection: asyncpg.Connection[Any]) -> None:
        self._seams.at("pre-commit")
        try:
            status = await connection.execute("COMMIT")
        except BaseException as error:
            if is_lost(error) or (isinstance(error, asyncpg.PostgresError) and connection.is_closed()):
                raise OutcomeUnknown(f"the commit's reply was lost: {told(error)}") from error
            raise
        if status == "ROLLBACK":
            raise StorageUnavailable("the server rolled the transaction back: a statement in it had failed unseen")
        self._seams.at("post-commit")

    def _translated(self, error: BaseException) -> BaseException:
        if is_trouble(error) and not isinstance(error, StorageUnavailable):
            return StorageUnavailable(f"the database cannot work now: {told(error)}")
        return error


async def _roll_back(connection: asyncpg.Connection[Any]) -> None:
    """End a transaction that may be over, on a connection that may be gone."""
    if connection.is_closed():
        return
    try:
        async with asyncio.timeout(_ROLLBACK_SECONDS):
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()
