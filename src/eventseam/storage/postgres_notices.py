"""LISTEN and NOTIFY as a hint between processes, on a connection of their own.

Nothing depends on it: what is not heard is found by polling. It never takes part in a business transaction, which a
NOTIFY would serialise against all others at commit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NoReturn

import asyncpg

from eventseam.errors import StorageError
from eventseam.storage.postgres_pool import close

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventseam.clock import Seams
    from eventseam.storage.postgres_binding import Connection
    from eventseam.storage.postgres_connect import PostgresOptions

CHANNEL: Final = "eventseam"
_PAUSE_SECONDS_MIN: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 5.0
_STILL_THERE_SECONDS: Final = 10.0


class Notices:
    """What one process announces and hears."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], options: PostgresOptions, seams: Seams) -> None:
        """Open nothing yet."""
        self._connect = connect
        self._options = options
        self._seams = seams
        self._pending = asyncio.Event()

    def announce(self) -> None:
        """Let others know soon; several at once are one."""
        self._pending.set()

    async def hear(self, wake: Callable[[], None]) -> NoReturn:
        """Call `wake` for every announcement of another process, and send ours, until cancelled; reconnect for ever."""
        pause = _PAUSE_SECONDS_MIN
        while True:
            try:
                connection = await self._connect()
            except StorageError:
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
            else:
                pause = _PAUSE_SECONDS_MIN
                await self._serve(connection, wake)
            await self._seams.clock.sleep(pause * (0.5 + self._seams.random.random()))

    async def _serve(self, connection: Connection, wake: Callable[[], None]) -> None:
        """Listen and announce until the connection is lost."""
        raw = connection.raw
        own = raw.get_server_pid()

        def heard(_raw: object, pid: int, _channel: str, _payload: object) -> None:
            if pid != own:
                wake()

        try:
            raw.add_termination_listener(lambda _: self._pending.set())  # to notice it at once
            async with asyncio.timeout(self._options.answer_seconds_max):
                await raw.add_listener(CHANNEL, heard)
            wake()  # what was announced while nobody listened
            while True:
                await self._send(raw)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self._pending.set()  # it may be ours that was not sent
        finally:
            await close(connection)

    async def _send(self, raw: asyncpg.Connection[Any]) -> None:
        """Send what is announced; when nothing is, look now and then whether the connection is still there."""
        limit = self._options.answer_seconds_max
        try:
            async with asyncio.timeout(_STILL_THERE_SECONDS):
                await self._pending.wait()
        except TimeoutError:
            await raw.execute("SELECT", timeout=limit)
            return
        self._pending.clear()
        await raw.execute(f"NOTIFY {CHANNEL}", timeout=limit)
        await self._seams.clock.sleep(self._options.announce_every_seconds)  # the first at once, the next ones together
