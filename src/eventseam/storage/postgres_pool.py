"""A bounded pool of connections: given out one at a time, last in first out, opened when none is free.

Nothing is reset between uses: whoever returns a connection has ended its transaction, or closed it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from eventseam.ports.sql import Opening
    from eventseam.storage.postgres_binding import Connection

_GOODBYE_SECONDS: Final = 2.0


async def close(connection: Connection) -> None:
    """Close a connection, politely if it answers."""
    try:
        await connection.raw.close(timeout=_GOODBYE_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        connection.raw.terminate()
    except asyncio.CancelledError:
        connection.raw.terminate()
        raise


class Watch:
    """Ends connections whose statement has no answer in time. A timer for each statement would cost 14 us."""

    def __init__(self, seconds_max: float, monotonic: Callable[[], float]) -> None:
        """Watch nothing yet."""
        self._seconds_max = seconds_max
        self._monotonic = monotonic
        self._connections: set[Connection] = set()
        self._next: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection) -> None:
        """Watch a connection until it is closed. Call it on the loop."""
        self._connections.add(connection)
        if self._next is None:
            self._look()

    def _look(self) -> None:
        self._connections = {each for each in self._connections if each.is_open}
        since = self._monotonic() - self._seconds_max
        for each in self._connections:
            if each.since < since:
                each.raw.terminate()
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(self._seconds_max / 4, self._look) if self._connections else None


class Pool:
    """Up to `count_max` connections. Usable from every task of one loop."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], count_max: int) -> None:
        """Open nothing yet."""
        self._connect = connect
        self._free = asyncio.Semaphore(count_max)
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._out = 0
        self._all_back = asyncio.Event()
        self._all_back.set()

    @asynccontextmanager
    async def lend(self, begin: str, opening: Opening | None = None) -> AsyncGenerator[Connection]:
        """A connection for the time of the block, on which `begin` has run. Raises what connecting raises.

        One that was lost while it was idle is not noticed before it is used: the next one is tried.
        Raises what `opening` raises, after which the transaction has been rolled back.
        """
        async with self._free:
            self._out += 1
            self._all_back.clear()
            connection: Connection | None = None
            try:
                connection = await self._begun(begin, opening)
                self._lent.add(connection)
                yield connection
            finally:
                self._out -= 1
                if connection is not None:
                    self._lent.discard(connection)
                    if connection.is_open:
                        self._idle.append(connection)
                if not self._out:
                    self._all_back.set()

    async def close(self, wait_seconds: float) -> None:
        """Close every connection; those that are lent when they come back, or after `wait_seconds`. Idempotent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self._all_back.wait()
        for connection in self._lent:
            connection.raw.terminate()
        while self._idle:
            await close(self._idle.pop())

    async def _begun(self, begin: str, opening: Opening | None) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                try:
                    await self._begin(connection, begin, opening)
                except Exception:
                    if connection.is_open:
                        raise  # the statement's fault, not the connection's
                else:
                    return connection
        connection = await self._connect()
        await self._begin(connection, begin, opening)
        return connection

    async def _begin(self, connection: Connection, begin: str, opening: Opening | None) -> None:
        """Begin on a connection; when that fails it is back in the pool, without a transaction, or closed."""
        try:
            await connection.begin(begin, opening)
        except BaseException:
            if opening is None or not connection.is_open:
                connection.raw.terminate()
            else:
                await connection.roll_back()
                self._idle.append(connection)
            raise
