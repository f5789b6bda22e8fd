"""How long some work took, and how much processor time of this process and of a server it used."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PARENT, _USED_FIRST, _USED_OF_CHILDREN, _USED_END = 1, 11, 13, 15  # in /proc/PID/stat, behind the name
_END_SECONDS = 0.05
"""In which a child whose connection was closed has ended, and is counted by its parent."""


class Watch:
    """Starts when it is made."""

    def __init__(self) -> None:
        """Begin."""
        self._began, self._used = time.perf_counter(), time.process_time()

    def per(self, count: int, ended: float | None = None) -> Timing:
        """Microseconds per each of `count`, until now or until `ended`."""
        used = time.process_time() - self._used
        seconds = (ended or time.perf_counter()) - self._began
        return Timing(seconds / count * 1e6, used / count * 1e6)


def with_server(pid: int, count: int, work: Callable[[], Timing]) -> Timing:
    """Do `work`, and note what the server whose first process is `pid` spent on it, connecting included."""
    return with_servers((pid,), count, work)


def with_servers(pids: Sequence[int], count: int, work: Callable[[], Timing]) -> Timing:
    """The same with several servers, whose times are added up."""
    before = sum(map(server_seconds, pids))
    found = work()
    return found._replace(server_us=(sum(map(server_seconds, pids)) - before) / count * 1e6)


def server_seconds(pid: int) -> float:
    """The processor time so far of a process and of all of its children, those that have ended too. 0 without /proc."""
    time.sleep(_END_SECONDS)
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended: its parent counts it
            continue
        if int(folder.name) == pid:
            ticks += sum(int(each) for each in fields[_USED_FIRST:_USED_END])
        elif int(fields[_PARENT]) == pid:
            ticks += sum(int(each) for each in fields[_USED_FIRST:_USED_OF_CHILDREN])
    return ticks / os.sysconf("SC_CLK_TCK")
