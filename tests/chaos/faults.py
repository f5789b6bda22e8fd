"""What goes wrong in `make chaos` on PostgreSQL. Each fault happens once when called, and returns when it is over."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventseam.testing.servers import StartedPostgres
    from tests.support.proxy import Proxy

LEASE_SECONDS = 2.0
STOPPED_SECONDS = 4.0
FULL_SECONDS_MAX = 15.0
DISK_MEGABYTES = 512
FULL = "No space left on device"
CHUNK = 1_048_576


def children(pid: int) -> dict[str, int]:
    """The processes that a demo has started, by the service they run."""
    found: dict[str, int] = {}
    for child in map(int, read(f"/proc/{pid}/task/{pid}/children").split()):
        words = read(f"/proc/{child}/cmdline").split("\0")
        if "--only" in words:
            found[words[words.index("--only") + 1]] = child
    return found


def read(path: str) -> str:
    """A file of /proc; empty if its process is gone."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8")
    return ""


class Faults:
    """All kinds of faults against one demo, its server and the network between them. `done` counts what they did."""

    def __init__(self, server: StartedPostgres, proxy: Proxy, disk: Path | None, chance: random.Random) -> None:
        self.server = server
        self.proxy = proxy
        self.disk = disk
        self.chance = chance
        self.demo = 0
        self.done: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()

    def kinds(self) -> list[str]:
        """Their names; a full disk needs a small one, which not everybody may mount."""
        return ["kill", "stop", "restart", "cut", *(["full"] if self.disk else [])]

    def happen(self, kind: str) -> bool:
        """Let one happen; False if it could not, because the demo has ended meanwhile."""
        with suppress(ProcessLookupError, LookupError):
            getattr(self, f"_{kind}")()
            self.done[kind] += 1
            return True
        return False

    def _victim(self) -> int:
        """One of the six, whichever is alive. Raises IndexError if none is."""
        return self.chance.choice(sorted(children(self.demo).items()))[1]

    def _kill(self) -> None:
        os.kill(self._victim(), signal.SIGKILL)
        self.effects["processes killed"] += 1

    def _stop(self) -> None:
        """Longer than its lease; the others go on meanwhile, and so do other faults."""
        victim = self._victim()
        os.kill(victim, signal.SIGSTOP)
        self.effects["processes stopped"] += 1
        timer = threading.Timer(STOPPED_SECONDS, _continue, (victim,))
        timer.daemon = True
        timer.start()

    def _restart(self) -> None:
        self.server.restart(immediate=True)
        self.effects["crash recoveries"] += 1

    def _cut(self) -> None:
        count = self.proxy.cut()
        if not count:
            raise LookupError("there was no connection to cut")
        self.effects["connections cut"] += count

    def _full(self) -> None:
        """Fill the disk, until the server has told of it."""
        assert self.disk
        before = self.server.log().count(FULL)
        ballast = self.disk / "ballast"
        deadline = time.monotonic() + FULL_SECONDS_MAX
        try:
            with ballast.open("wb", buffering=0) as file:
                while (count := self.server.log().count(FULL) - before) < 1 and children(self.demo):
                    with suppress(OSError):
                        while file.write(b"x" * CHUNK):
                            pass
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)
        finally:
            ballast.unlink()
        self.effects["statements without space"] += self.server.log().count(FULL) - before
        if not count:
            raise LookupError("nothing was written")


def _continue(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@contextmanager
def small_disk(server: StartedPostgres) -> Iterator[Path | None]:
    """A file system of its own for a tablespace of `server`; None where nobody may mount one."""
    folder = Path(tempfile.mkdtemp(prefix="eventseam-small-disk-"))
    try:
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            space = folder / "tablespace"
            space.mkdir(mode=0o700)
            owner = server.data.stat()
            os.chown(space, owner.st_uid, owner.st_gid)
            yield folder
        finally:
            server.stop(immediate=True)
            subprocess.run(["umount", "-l", str(folder)], check=False)
    finally:
        folder.rmdir()
