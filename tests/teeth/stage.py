"""The stage: acts run in forked processes that really end, stop and come back. Nothing of a dead process survives.

A process that ends here runs no `finally`, flushes nothing and closes no connection. What acts want to say goes to note
files by unbuffered appends, so that a crash cannot take it back.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

Act = Callable[[], Coroutine[Any, Any, None]]

CRASHED = 9
_BROKEN = 70
_ACT_SECONDS_MAX = 40


class Stage:
    """A folder with one database, and the processes that play on it."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        """Use an empty `folder`; no process starts yet."""
        self.folder = folder
        self.number = number
        self.alive: set[int] = set()
        self.database = folder / "shop.db"

    def aside(self, number: int) -> Stage:
        """Another stage beside this one, with a number."""
        folder = self.folder / str(number)
        folder.mkdir()
        other = Stage(folder, number)
        other.alive = self.alive
        return other

    def clear(self) -> None:
        """End every process that is still there, the stopped ones too."""
        for pid in self.alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.alive.clear()

    def play(self, act: Act) -> bool:
        """Run an act in a process of its own, to its end; whether it crashed (by a `CrashAt`)."""
        return self.start(act).wait()

    def start(self, act: Act) -> Actor:
        """Run an act in a process of its own and go on."""
        pid = os.fork()
        if pid == 0:
            self._perform(act)
        self.alive.add(pid)
        return Actor(pid, self)

    def note(self, name: str, line: object) -> None:
        """Append a line to a note, at once and for good."""
        file = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    def noted(self, name: str) -> list[str]:
        """The lines of a note; none if nobody has written it."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the database says now; nothing while there is no such table yet."""
        with closing(sqlite3.connect(self.database)) as connection:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def wait_for(self, sql: str) -> None:
        """Wait until a query has a row."""
        while not self.rows(sql):
            time.sleep(0.002)

    def is_locked(self) -> bool:
        """Whether somebody is writing at this moment."""
        with closing(sqlite3.connect(self.database, timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False

    def insert(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Write as a foreign program does: one transaction through a connection of its own."""
        with closing(sqlite3.connect(self.database, timeout=10)) as connection, connection:
            connection.executemany(sql, rows)

    def _perform(self, act: Act) -> NoReturn:
        code = _BROKEN
        try:
            signal.alarm(_ACT_SECONDS_MAX)
            asyncio.run(act())
            code = 0
        except BaseException:  # noqa: BLE001 - this process has nobody above it: whatever it was is told and judged
            self.note("broken", traceback.format_exc())
        finally:
            os._exit(code)


class Actor(NamedTuple):
    """A running process of a stage."""

    pid: int
    stage: Stage

    def wait(self) -> bool:
        """Wait for its end; whether it crashed. Raises AssertionError when the engine ended on an error of its own."""
        _, status = os.waitpid(self.pid, 0)
        self.stage.alive.discard(self.pid)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, f"the engine hangs (signal {os.WTERMSIG(status)})"
            return True
        if os.WEXITSTATUS(status) == _BROKEN:
            raise AssertionError("the engine ended:\n" + "\n".join(self.stage.noted("broken")))
        return os.WEXITSTATUS(status) == CRASHED

    def wait_stopped(self) -> None:
        """Wait until the process has stopped itself."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.stage.alive.discard(self.pid)
            raise AssertionError("the process ended before it stopped:\n" + "\n".join(self.stage.noted("broken")))

    def resume(self) -> None:
        """Let a stopped process go on, as if no time had passed for it."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it by kill -9."""
        os.kill(self.pid, signal.SIGKILL)


class CrashAt:
    """Effect points that end the process at the n-th passing of any, n being the stage's number; see clock.Points."""

    def __init__(self, stage: Stage) -> None:
        """Crash at passing `stage.number` (1 is the first)."""
        self._stage = stage
        self._passed = itertools.count(1)  # passed by several threads: `next` is atomic

    def at(self, point: str) -> None:
        """See clock.Points."""
        if next(self._passed) == self._stage.number:
            self._stage.note("crash", f"point {self._stage.number} ({point})")
            os._exit(CRASHED)
