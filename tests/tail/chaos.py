"""The chaos: writers of every kind, readers that are killed -9 and stopped beyond their lease, a server that crashes.

At the end each reader must have seen each row of the journal once, nothing else, and each key's numbers rising.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psycopg

from eventseam.testing.servers import StartedPostgres, postgres
from tests.support.postgres import connect, query
from tests.tail.reading import LEASE_SECONDS
from tests.tail.rig import APPEND, Findings, compared, scene_at
from tests.tail.writers import NUMBERS

ROOT = Path(__file__).parents[2]
CATCH_UP_SECONDS_MAX = 100.0
HURTS_SECONDS_MAX = 60.0
IS_ALL_READ = """
SELECT (SELECT count(*) FROM positions) = %s AND NOT EXISTS (
  SELECT FROM event_outbox o JOIN positions p ON p.slot = o.slot
  WHERE NOT eventseam_has_finished(p, o.era, o.x, o.position))
"""
HAS_MOVED = "SELECT 1 FROM positions WHERE reader = %s AND owner = %s AND moved_at > to_timestamp(%s)"


class Role(NamedTuple):
    """One process of a reader: how many rows it reads at once, how many slots it may own."""

    reader: str
    owner: str
    limit: int
    share: int


ROLES = (
    Role("by 9", "by 9", 9, 16),
    Role("by 50", "by 50", 50, 16),
    Role("by 1000", "by 1000", 1_000, 16),
    Role("shared", "one", 20, 8),
    Role("shared", "other", 200, 8),
)


@dataclass(frozen=True)
class Plan:
    """How long, how many, how often."""

    seconds: float = 12.0
    writers: int = 24
    seed: int = 1
    restart_every_seconds: float = 5.0
    kill_every_seconds: float = 0.7
    hurts_min: int = 1
    fsync: bool = True


@dataclass
class Outcome:
    """What happened, and what each reader saw that it should not have, or the other way round."""

    rows: int = 0
    restarts: int = 0
    version: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Findings] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    @property
    def hurts(self) -> int:
        """Of the two kinds the rarer one."""
        return min(self.killed.total(), self.stopped.total())

    @property
    def is_right(self) -> bool:
        return not any(any(each) for each in self.findings.values())

    def lines(self) -> Iterator[str]:
        yield (
            f"PostgreSQL {self.version}: {self.rows:,} rows, {self.restarts} crashes of the server, "
            f"{self.killed.total()} kills of readers, {self.stopped.total()} stopped beyond their lease"
        )
        for name, found in self.findings.items():
            counts = " / ".join(str(len(each)) for each in found)
            yield f"  {name:8} {self.seen[name]:>9,} read, lost / doubled / invented / inverted: {counts}"


class Readers:
    """The processes of all readers, each started again when it has died."""

    def __init__(self, url: str, outcome: Outcome, chance: random.Random) -> None:
        self._url = url
        self._outcome = outcome
        self._chance = chance
        self._running: dict[Role, subprocess.Popen[bytes]] = {}
        self._started: dict[Role, float] = {}
        self._zombies: list[tuple[float, subprocess.Popen[bytes]]] = []

    def tend(self) -> None:
        """Start what is not running; let stopped ones go on beside their successors for a moment, and kill them."""
        for role in ROLES:
            process = self._running.get(role)
            if process is None or process.poll() is not None:
                if process is not None:
                    died = process.returncode
                    assert died == -signal.SIGKILL, f"the reader {role.owner!r} ended with {died}"
                    self._outcome.killed[role.reader] += 1
                self._running[role] = self._start(role)
        for wakes, zombie in list(self._zombies):
            if time.monotonic() > wakes:
                zombie.send_signal(signal.SIGCONT)
            if time.monotonic() > wakes + 0.5:
                self._zombies.remove((wakes, zombie))
                _end(zombie)

    def hurt_one(self) -> None:
        """Kill a reader that reads, or stop it for longer than its lease while another takes its place."""
        role = self._chance.choice(ROLES)
        process = self._running.get(role)
        if process is None or process.poll() is not None or not self._has_read(role):
            return
        if self._chance.random() < 0.3:
            process.send_signal(signal.SIGSTOP)
            self._zombies.append((time.monotonic() + LEASE_SECONDS * 1.5, process))
            self._outcome.stopped[role.reader] += 1
            self._running[role] = self._start(role)
        else:
            process.kill()
            process.wait()

    def close(self) -> None:
        for process in (*self._running.values(), *(zombie for _, zombie in self._zombies)):
            _end(process)

    def _has_read(self, role: Role) -> bool:
        """Whether a process has come so far that there is something to hurt; a busy machine starts it slowly."""
        return bool(query(self._url, HAS_MOVED, role.reader, role.owner, self._started[role]))

    def _start(self, role: Role) -> subprocess.Popen[bytes]:
        self._started[role] = time.time()
        words = [role.reader, role.owner, str(role.limit), str(role.share), str(self._chance.randrange(10**9))]
        return _started("tests.tail.reading", self._url, *words)


def _started(module: str, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *words], cwd=ROOT, stdin=stdin)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.send_signal(signal.SIGCONT)
    process.wait()


@contextmanager
def _writing(url: str, plan: Plan) -> Iterator[None]:
    """Writers in two processes."""
    half = max(1, plan.writers // 2)
    words = [(url, str(half), str(plan.seed + each)) for each in (0, 1)]
    processes = [_started("tests.tail.writers", *each, stdin=subprocess.PIPE) for each in words]
    try:
        yield
    finally:
        for process in processes:
            if process.stdin:
                process.stdin.close()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def run(plan: Plan) -> Outcome:
    """Play it to the end on a server of its own."""
    settings: dict[str, str | int] = {"max_prepared_transactions": 100, "fsync": "on" if plan.fsync else "off"}
    with postgres(settings=settings) as server:
        url = server.database("chaos")
        asyncio.run(_prepare(url))
        outcome = Outcome(version=server.version)
        readers = Readers(url, outcome, random.Random(plan.seed))
        try:
            _forget_one(url)
            with _writing(url, plan):
                _trouble(server, plan, readers, outcome)
            _settle(url)
            _wait(url, readers)
        finally:
            readers.close()
        outcome.rows = query(url, "SELECT count(*) FROM event_outbox")[0][0]
        for reader in dict.fromkeys(role.reader for role in ROLES):
            outcome.findings[reader] = compared(url, reader, ordered=True)
            outcome.seen[reader] = query(url, "SELECT count(*) FROM seen WHERE reader = %s", reader)[0][0]
    return outcome


async def _prepare(url: str) -> None:
    async with scene_at(url):
        query(url, NUMBERS)


def _forget_one(url: str) -> None:
    """A prepared transaction that nobody thinks of until the end: its row has one of the first positions."""
    with connect(url) as connection:
        connection.execute("BEGIN")
        connection.execute(APPEND, ("forgotten", 1))
        connection.execute("PREPARE TRANSACTION 'forgotten'")


def _trouble(server: StartedPostgres, plan: Plan, readers: Readers, outcome: Outcome) -> None:
    """Hurt readers and the server until the time is up, with a stranger's transaction open in another database."""
    ends, crash = time.monotonic() + plan.seconds, time.monotonic() + plan.restart_every_seconds
    hurt, latest = time.monotonic() + 2 * plan.kill_every_seconds, ends + HURTS_SECONDS_MAX
    with ExitStack() as stack:
        _open_one(server, stack)
        while time.monotonic() < ends or (outcome.hurts < plan.hurts_min and time.monotonic() < latest):
            readers.tend()
            if time.monotonic() > hurt:
                readers.hurt_one()
                hurt = time.monotonic() + plan.kill_every_seconds
            if time.monotonic() > crash:
                server.restart(immediate=True)
                outcome.restarts += 1
                stack.close()
                _open_one(server, stack)
                crash = time.monotonic() + plan.restart_every_seconds
            time.sleep(0.05)


def _open_one(server: StartedPostgres, stack: ExitStack) -> None:
    stranger = psycopg.connect(server.url, autocommit=True)
    stack.callback(stranger.close)
    stranger.execute("BEGIN")
    stranger.execute("SELECT pg_current_xact_id()")


def _settle(url: str) -> None:
    """Nothing is in flight any more."""
    with connect(url) as connection:
        for (gid,) in connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
            connection.execute(f"COMMIT PREPARED '{gid}'")


def _wait(url: str, readers: Readers) -> None:
    """Until every reader says that it has finished every row; what is missing after that is lost.

    Raises AssertionError when nobody has read anything for a while: what is late is not lost.
    """
    slots, (seen, late) = 16 * len({role.reader for role in ROLES}), (-1, 0.0)
    while query(url, IS_ALL_READ, slots) != [(True,)]:
        readers.tend()
        time.sleep(0.5)
        now = query(url, "SELECT count(*) FROM seen")[0][0]
        late = late if now == seen else time.monotonic() + CATCH_UP_SECONDS_MAX
        seen = now
        assert time.monotonic() < late, f"nobody has read anything for {CATCH_UP_SECONDS_MAX:g} s: {seen} seen"


def main(arguments: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m tests.tail", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.2)
    parser.add_argument("--writers", type=int, default=24)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2)))
    args = parser.parse_args(arguments)
    print(f"seed {args.seed}", flush=True)
    outcome = run(Plan(seconds=args.minutes * 60, writers=args.writers, seed=args.seed))
    print("\n".join(outcome.lines()))
    print("each row once, in order" if outcome.is_right else "NOT TRUE: each row once, in order")
    return 0 if outcome.is_right else 1
