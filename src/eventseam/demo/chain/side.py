"""The chain beside the events: a process of its own, so that both shops have a core, watched line by line."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from eventseam.demo.chain.progress import Progress, Task
from eventseam.errors import EventseamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from eventseam.demo.board import Counts

END_SECONDS = 5.0


class ChainSide:
    """The running process. `run` offers all orders; `counts` follow it."""

    def __init__(self, process: asyncio.subprocess.Process, task: Task, counts: Counts) -> None:
        """Talk to `process`."""
        self._process = process
        self._task = task
        self._counts = counts

    async def run(self) -> None:
        """Return when every customer has an answer. Raises EventseamError if the process ends before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(self._task) + b"\n")
        async for line in self._process.stdout:
            progress = msgspec.json.decode(line, type=Progress)
            self._show(progress)
            if progress.done:
                return
        raise EventseamError("the chain's process ended before its orders did. Its error is printed above.")

    def _show(self, progress: Progress) -> None:
        counts = self._counts
        counts.confirmed, counts.failed = progress.confirmed, progress.failed
        counts.items_unavailable, counts.payment_failed = progress.items_unavailable, progress.payment_failed
        counts.accepted = counts.confirmed + counts.rejected


@asynccontextmanager
async def chain_side(task: Task, counts: Counts) -> AsyncGenerator[ChainSide]:
    """The process, from its start to its end; Ctrl-C reaches it only through us."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "eventseam.demo.chain")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
    try:
        yield ChainSide(process, task, counts)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it ends with its stdin
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
