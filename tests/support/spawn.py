"""Other processes of a test: started with this Python in the repository, ended with the block whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.place import Place

ROOT = Path(__file__).parents[2]


@contextmanager
def python(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process; its input is open, its output is text. A stopped one is continued, then killed and reaped."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


@contextmanager
def other_engine(place: Place, lease_seconds: float, delay_seconds: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """The engine of `other_process`, once its app runs (whether it owns anything or waits)."""
    with python("-m", "tests.support.other_process", str(place), str(lease_seconds), str(delay_seconds)) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        yield process


def foreign_program(source: str, *arguments: str) -> str:
    """Run a Python program that knows nothing of Eventseam to its end; what it said on its error output."""
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60).stderr
