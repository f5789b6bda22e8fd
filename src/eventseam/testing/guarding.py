"""What our servers have in common: a loopback address, free ports on it, and a guard process that outlives us."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from eventseam.testing import guard

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from pathlib import Path

HOST = "127.0.0.1"


class Guard:
    """A process that ends one server, and removes its folder, once this process has ended, however it did."""

    def __init__(self, pid_file: Path, signals: Sequence[signal.Signals], remove: Path | None) -> None:
        """Start it. It sends `signals` one after the other, and only to a pid that `pid_file` begins with."""
        steps = ",".join(str(int(number)) for number in signals)
        command = [sys.executable, "-I", "-S", guard.__file__, str(pid_file), steps, *([str(remove)] if remove else [])]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True, cwd="/"
        )

    def watch(self, pid: int) -> None:
        """The pid of the server that runs now; 0 for none."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.write(b"%d\n" % pid)
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it do its work now, and wait for its end. Idempotent."""
        if self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()


def free_ports(count: int) -> list[int]:
    """Different ports on which nobody listens now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
