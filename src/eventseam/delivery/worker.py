"""A worker of the attempts, and the signals by which its handler's end is told apart from its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from eventseam.errors import HandlerTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.delivery.item import Item

NEVER = float("inf")
"""The deadline of who runs nothing."""


class Worker:
    """A worker task and the deadline of what it runs."""

    __slots__ = ("cancels", "deadline", "is_given_up", "items", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        """Run nothing yet."""
        self.task = task
        self.deadline = NEVER
        self.cancels = 0
        self.is_given_up = False
        self.items: Sequence[Item] = ()


def raise_cancelled(worker: Worker) -> NoReturn:
    """A handler was cancelled: whatever it made of that, it is late, or the engine stops and nothing of it counts.

    Raises CancelledError when the engine stops, else Unfinished.
    """
    for _ in range(worker.cancels):
        worker.task.uncancel()
    worker.cancels = 0
    if worker.task.cancelling():
        raise asyncio.CancelledError
    handler = worker.items[0].handler
    limit = f"timeout_seconds={handler.timeout_seconds:g}"
    raise Unfinished(HandlerTimeout(f"{handler.name} ran longer than its {limit}")) from None


def is_running_loop() -> bool:
    """Whether this is called on a loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class GivenUp(Exception):  # noqa: N818 - a signal
    """The handler that a worker was left behind with has ended after all."""


class Unfinished(Exception):  # noqa: N818 - a signal
    """Carries a handler's error past our own handlers of errors."""

    def __init__(self, error: BaseException) -> None:
        """Carry `error`."""
        super().__init__()
        self.error = error
