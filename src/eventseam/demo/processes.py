"""Six processes, one for each service: `eventseam run eventseam.demo.app:create --only SERVICE`, kept alive.

Each has a database of its own; they meet on the bus. Whoever dies is started again, unless it says that no start can
succeed. Ctrl-C reaches them only through us, and they end with us even if we are killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from eventseam.clock import Clock, SystemClock
from eventseam.demo import guard
from eventseam.demo.where import NAMES
from eventseam.errors import EventseamError, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from eventseam.demo.events import Tally
    from eventseam.demo.where import Where

TARGET = "eventseam.demo.app:create"
HOPELESS = (2, 3)
"""Exit codes of `eventseam run` after which another start would end in the same way: its arguments, its settings."""
PAUSE_SECONDS = 0.5
END_SECONDS = 15.0
LINE_BYTES_MAX = 1_048_576


class Line(msgspec.Struct):
    """What is of use in a line of a process's log."""

    event: str
    duplicates: int = 0


class Processes:
    """The six. `restarts` counts how often one of them had to be started again."""

    def __init__(self, where: Where, tally: Tally, group: int) -> None:
        """Of the shop at `where`; what they log is counted in `tally`. They join the process group `group`."""
        self._where = where
        self._tally = tally
        self._group = group
        self._clock: Clock = SystemClock()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self.restarts = 0

    async def run(self) -> None:
        """Keep them alive until cancelled. Raises EventseamError for one that cannot be started at all."""
        try:
            async with asyncio.TaskGroup() as group:
                for service in NAMES:
                    group.create_task(self._keep(service))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def stop(self) -> None:
        """Ask all to end, and wait for it, at most END_SECONDS."""
        running = [process for process in self._running.values() if process.returncode is None]
        for process in running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                for process in running:
                    await self._listen(process)
                    await process.wait()

    async def gone(self) -> None:
        """Wait for those that were killed: the loop must see the end of each before its own."""
        for process in self._running.values():
            await process.wait()

    async def _keep(self, service: str) -> None:
        while True:
            process = self._running[service] = await self._start(service)
            last = await self._listen(process)
            code = await process.wait()
            if code in HOPELESS:
                raise EventseamError(f"the process of {service} cannot run: {last}")
            self.restarts += 1
            await self._clock.sleep(PAUSE_SECONDS)

    async def _start(self, service: str) -> asyncio.subprocess.Process:
        words = (sys.executable, "-m", "eventseam.cli", "run", TARGET, "--only", service, "--logs", "json")
        null = subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            *words,
            env={**os.environ, **self._where.environment(service)},
            stdin=null,
            stdout=null,
            stderr=subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            process_group=self._group,
        )

    async def _listen(self, process: asyncio.subprocess.Process) -> str:
        """Count what a process logs until it ends; its last line that is no log."""
        last = "it says nothing"
        assert process.stderr is not None
        async for line in process.stderr:
            try:
                seen = msgspec.json.decode(line, type=Line)
            except msgspec.MsgspecError:
                last = line.decode(errors="replace").strip() or last
                continue
            self._tally.retries += seen.event == "handler_failed"
            self._tally.duplicates += seen.duplicates
        return last


@asynccontextmanager
async def six_processes(where: Where, tally: Tally) -> AsyncGenerator[Processes]:
    """The six, which run while `run` does; at the end none is left. Raises SettingsError where there are no groups."""
    if not hasattr(os, "killpg"):
        raise SettingsError("--processes needs process groups, which this system lacks. Leave --processes out.")
    command = (sys.executable, "-I", "-S", guard.__file__)
    watch = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, process_group=0)
    processes = Processes(where, tally, watch.pid)
    try:
        yield processes
        await processes.stop()
    finally:
        assert watch.stdin is not None
        watch.stdin.close()  # kills whoever is left
        await watch.wait()
        await processes.gone()
