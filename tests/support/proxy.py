"""A TCP proxy on the loopback address that fails on demand: cut, refuse, swallow, heal.

It runs on a loop in a thread of its own, so that tests of any kind call it plainly; each call has happened when it
returns.

    with Proxy(5432) as proxy:
        url = proxy.url("postgresql://postgres@127.0.0.1:5432/shop")
        proxy.cut()
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Coroutine

HOST = "127.0.0.1"
CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends RST


class Proxy:
    """Forwards its own `port` to `target`, a port on the loopback address."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._is_refusing = False
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, url: str) -> str:
        """The same URL by way of this proxy."""
        parts = urlsplit(url)
        who, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{who}{at}{HOST}:{self.port}").geturl()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open) // 2

    def cut(self) -> int:
        """Reset every connection, at both ends; new ones work. How many there were."""
        return self._do(self._cut())

    def refuse(self) -> None:
        """Reset every connection, and each new one at once, until `heal`."""
        self._is_refusing = True
        self.cut()

    def swallow(self, *, requests: bool = True, answers: bool = True) -> None:
        """Let nothing through, and say nothing, as a dead network does; only `answers` for an unknown outcome.

        Like TCP after a network comes back, `heal` delivers what was held, if the connection is still there.
        """
        self._do(self._hold(requests=requests, answers=answers))

    def heal(self) -> None:
        """Let everything through again, held bytes first."""
        self._is_refusing = False
        self._do(self._hold(requests=False, answers=False))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._requests = asyncio.Event()
        self._answers = asyncio.Event()
        self._requests.set()
        self._answers.set()
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self) -> int:
        count = self.connections
        for writer in list(self._open):
            self._reset(writer)
        return count

    async def _hold(self, *, requests: bool, answers: bool) -> None:
        for gate, is_held in ((self._requests, requests), (self._answers, answers)):
            gate.clear() if is_held else gate.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._is_refusing:
            self._reset(writer)
            return
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await self._connect(reader, writer)
        self._reset(writer)
        self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._requests.wait()
        answers, requests = await asyncio.open_connection(HOST, self.target)
        self._open |= {writer, requests}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, requests, self._requests))
                both.create_task(self._pump(answers, writer, self._answers))
        except ExceptionGroup:
            return
        finally:
            self._reset(requests)
            self._open -= {writer, requests}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        """Copy until the end, which is passed on; an end by force ends the other direction too."""
        while chunk := await source.read(CHUNK):
            await gate.wait()
            sink.write(chunk)
            await sink.drain()
        await gate.wait()
        sink.write_eof()

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        if writer.transport.is_closing():
            return
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
