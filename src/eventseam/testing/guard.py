"""Ends a server whose starter is gone: `python guard.py DATA [FOLDER_TO_REMOVE]`, a script of its own.

It reads the pid of the running server from its input, one line for each start, 0 for none. When the input ends, the
starter has ended, however it did. It signals only the pid it was told, and only while DATA names that pid as its own.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

_STEPS = ((signal.SIGINT, 100), (signal.SIGQUIT, 100), (signal.SIGKILL, 40))
_POLL_SECONDS = 0.05


def main(data: Path, remove: Path | None = None) -> None:
    """Wait for the end of the input, then leave nothing behind."""
    pid = 0
    for line in sys.stdin:
        pid = int(line)
    if pid:
        _end(pid, data)
    if remove is not None:
        shutil.rmtree(remove, ignore_errors=True)


def _end(pid: int, data: Path) -> None:
    for number, polls in _STEPS:
        if not _is_alive(pid, data):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)
        for _ in range(polls):
            if not _is_alive(pid, data):
                return
            select.select([], [], [], _POLL_SECONDS)


def _is_alive(pid: int, data: Path) -> bool:
    try:
        first = (data / "postmaster.pid").read_text(encoding="utf-8").partition("\n")[0]
        os.kill(pid, 0)
    except (OSError, ValueError):
        return False
    return first.strip() == str(pid)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
