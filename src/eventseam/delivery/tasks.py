"""The one place outside of task groups where tasks are made: a crew of workers that may have to be left behind.

A task group waits for every task, also for one whose code swallows each cancellation. A crew does not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable


async def crew(workers: Iterable[Coroutine[Any, Any, None]], leave_seconds: float) -> None:
    """Run `workers` until cancelled or until one raises, which is raised. Then end them all.

    Whoever has not ended `leave_seconds` after being cancelled is left behind.
    """
    tasks = [asyncio.create_task(worker) for worker in workers]
    try:
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=leave_seconds)
