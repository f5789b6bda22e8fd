"""Ends a server whose starter is gone: `python guard.py PID_FILE SIGNALS [FOLDER_TO_REMOVE]`, a script of its own.

It reads the pid of the running server from its input, one line for each start, 0 for none. When the input ends, the
starter has ended, however it did. It signals only the pid it was told, and only while PID_FILE begins with that pid;
SIGNALS are numbers with commas: each is sent if the one before has not ended the server within five seconds.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

_POLLS = 100
_POLL_SECONDS = 0.05


def main(pid_file: str, signals: str, remove: str | None = None) -> None:
    """Wait for the end of the input, then leave nothing behind."""
    pid = 0
    for line in sys.stdin:
        pid = int(line)
    if pid:
        _end(pid, Path(pid_file), [int(number) for number in signals.split(",")])
    if remove is not None:
        shutil.rmtree(remove, ignore_errors=True)


def _end(pid: int, pid_file: Path, signals: list[int]) -> None:
    for number in signals:
        if not _is_alive(pid, pid_file):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)
        for _ in range(_POLLS):
            if not _is_alive(pid, pid_file):
                return
            select.select([], [], [], _POLL_SECONDS)


def _is_alive(pid: int, pid_file: Path) -> bool:
    try:
        first = pid_file.read_text(encoding="utf-8").partition("\n")[0]
        os.kill(pid, 0)
    except (OSError, ValueError):
        return False
    return first.strip() == str(pid)


if __name__ == "__main__":
    main(*sys.argv[1:])
