"""The seam for threads: the only place in Eventseam that starts any. A simulator runs the same bodies inline.

A pool has a fixed number of named daemon threads, so that a body that hangs can neither stop the process from ending
nor be multiplied without end: a thread given up on is replaced, at most `abandoned_max` times.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from eventseam.errors import EventseamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventseam.clock import Clock

_ASK_AGAIN_SECONDS = 0.01

T = TypeVar("T")


class _Job:
    """A body on its way to a thread, unless it is withdrawn before: who claims it first has it."""

    __slots__ = ("_claims", "body", "context", "ended", "future")

    def __init__(self, body: Callable[[], Any], future: asyncio.Future[Any], ended: _Ended) -> None:
        self.body = body
        self.future = future
        self.ended = ended
        self.context = contextvars.copy_context()
        self._claims = [None]

    def claim(self) -> bool:
        """Whether it is the caller's now; of two threads that ask at once, one gets it."""
        try:
            self._claims.pop()
        except IndexError:
            return False
        return True


class _Ended:
    """What threads have ended and the loop has not heard of. It is woken once for all of it: a wake costs 15 us."""

    __slots__ = ("_is_told", "_news", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._news: deque[tuple[Callable[..., None], asyncio.Future[Any], object]] = deque()
        self._is_told = False

    def tell(self, settle: Callable[..., None], future: asyncio.Future[Any], value: object) -> None:
        """Settle a future on its loop; a loop that is closed has nobody left to tell. Called in a thread."""
        self._news.append((settle, future, value))
        if not self._is_told:  # who appended before the loop took this back is heard by the same wake
            self._is_told = True
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self._is_told = False
        while self._news:
            settle, future, value = self._news.popleft()
            settle(future, value)


class _Told:
    """Whatever a body raises belongs to whoever awaits its future; the thread lives on.

    Also what is no exception at all, which an extension module may raise: no `except` would catch that.
    """

    __slots__ = ("_job",)

    def __init__(self, job: _Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> bool:
        if error is None:
            return False
        is_one = isinstance(error, BaseException)
        self._job.ended.tell(_fail, self._job.future, error if is_one else RuntimeError(f"{error!r} was raised"))
        return True


class Threads:
    """A bounded pool. `run` and `hurry` may be called from the tasks of any one loop at a time."""

    def __init__(self, name: str, count: int, *, abandoned_max: int = 64) -> None:
        """Start nothing yet: threads come with the first bodies, up to `count`."""
        self._name = name
        self._count = count
        self._abandoned_left = abandoned_max
        self._started = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ended: _Ended | None = None

    async def run(self, body: Callable[[], T], on_cancel: Callable[[], None] | None = None) -> T:
        """Run `body` in a thread and wait for its end, also when cancelled: what it holds is free afterwards.

        `on_cancel` may make it end soon; it is called until it has.
        """
        future = self._submit(body).future
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                if on_cancel is not None:
                    on_cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future], timeout=None if on_cancel is None else _ASK_AGAIN_SECONDS)
            raise

    async def hurry(self, body: Callable[[], T]) -> T:
        """Run `body` in a thread; when cancelled, withdraw it, or leave it behind and replace its thread.

        Raises EventseamError when too many threads have been left behind: they hang, and more would only hang too.
        """
        if self._abandoned_left <= 0:
            message = f"the threads of {self._name} hang: every replacement is used up. Restart, and find what blocks"
            raise EventseamError(message)
        job = self._submit(body)
        try:
            return await job.future  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if job.future.cancelled() and not job.claim():
                self._abandoned_left -= 1
                self._start_one()
            raise

    def close(self) -> None:
        """End every idle thread; a busy one ends after its body. Idempotent."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0

    def _submit(self, body: Callable[[], T]) -> _Job:
        loop = asyncio.get_running_loop()
        if self._ended is None or self._ended.loop is not loop:
            self._ended = _Ended(loop)
        job = _Job(body, loop.create_future(), self._ended)
        if self._started < self._count:
            self._start_one()
        self._jobs.put(job)
        return job

    def _start_one(self) -> None:
        self._started += 1
        threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.claim():
                with _Told(job):
                    result = job.context.run(job.body)
                    job.ended.tell(_finish, job.future, result)
                    del result
            del job


class ShortWork:
    """Runs bodies on the loop while they are short, and in a thread after one was not, until one is short again.

    A thread costs two hops, and with the loop busy each step of a driver waits for the interpreter lock: that nearly
    doubled the cost of an apply. A body that turns out slow stops the loop once.
    """

    def __init__(self, threads: Threads, clock: Clock, short_seconds: float = 0.02) -> None:
        """Begin in a thread: the first body may have to open a file."""
        self._threads = threads
        self._clock = clock
        self._short = short_seconds
        self.is_short = False
        self._in_thread = 0

    async def run(self, body: Callable[[], T]) -> T:
        """Run `body`; never beside another one that is still in the thread."""
        if self.is_short and not self._in_thread:
            return self.timed(body)
        self._in_thread += 1
        try:
            return await self._threads.run(lambda: self.timed(body))
        finally:
            self._in_thread -= 1

    def timed(self, body: Callable[[], T]) -> T:
        """Run `body` here and now, and learn from how long it took."""
        began = self._clock.monotonic()
        try:
            return body()
        finally:
            self.is_short = self._clock.monotonic() - began < self._short


def _finish(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if isinstance(error, StopIteration):  # a future refuses it; a coroutine that raises it says the same
        error = RuntimeError("a function in a thread raised StopIteration")
    if not future.done():
        future.set_exception(error)
        future.exception()  # an abandoned body's error has nobody to tell: mark it as seen
