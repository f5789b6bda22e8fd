"""The stage: processes of one service that are started, stopped and killed while others write; then the audit.

With Kafka they read what their own relays have published, and the weather between them and the broker is bad.

Processes are forked from this one, which has no threads: they are there within 50 ms. Whatever happens here, none is
left behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tests.owners.audit import Verdict, audit
from tests.owners.worker import Plan, locks_of, serve
from tests.owners.writers import PREFIX, Writers, produce
from tests.support.file import unfinished
from tests.support.postgres import query

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

JOURNAL = "journal:"
KAFKA = "kafka"
"""A broker of our own, for this performance."""
DRAIN_SECONDS_MAX = 120.0


@dataclass
class Troupe:
    """Processes forked from this one, by their ids; some of them stopped until a time, some that keep servers."""

    folder: Path
    alive: set[int] = field(default_factory=set)
    stopped: dict[int, float] = field(default_factory=dict)
    keepers: set[int] = field(default_factory=set)

    def start(self, act: Callable[[], object]) -> int:
        """Run an act in a process of its own."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                act()
                code = 0
            except BaseException:  # noqa: BLE001 - this process has nobody above it: it tells in a file
                with (self.folder / "broken").open("a") as file:
                    traceback.print_exc(file=file)
            finally:
                os._exit(code)
        self.alive.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """End a process by kill -9."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def wait(self, pid: int) -> None:
        """Wait for its end."""
        os.waitpid(pid, 0)
        self.alive.discard(pid)
        self.stopped.pop(pid, None)

    def stop(self, pid: int, seconds: float) -> None:
        """Let a process stand still for some time; `wake` lets it go on."""
        os.kill(pid, signal.SIGSTOP)
        self.stopped[pid] = time.monotonic() + seconds

    def wake(self, *, now: float) -> None:
        """Let those go on whose time is over."""
        for pid, until in list(self.stopped.items()):
            if until <= now:
                os.kill(pid, signal.SIGCONT)
                del self.stopped[pid]

    def check(self) -> None:
        """Raise AssertionError if a process ended by itself."""
        broken = self.folder / "broken"
        if broken.exists():
            time.sleep(0.5)  # it may be about to write
            raise AssertionError(f"an engine ended:\n{broken.read_text()}")

    def clear(self, *, but: Collection[int] = ()) -> None:
        """End every process that is still there, except some."""
        for pid in self.alive.difference(but):
            self.kill(pid)


@contextmanager
def troupe(folder: Path) -> Iterator[Troupe]:
    """A troupe that is gone after the block."""
    made = Troupe(folder)
    try:
        yield made
    finally:
        made.clear()


class Outcome(NamedTuple):
    """What a performance was, and how it ended."""

    rows: int
    kills: int
    stops: int
    drain_seconds: float
    verdict: Verdict
    weather: Mapping[str, int] = MappingProxyType({})


def run_worker(plan: Plan) -> None:
    """What a forked process does."""
    with locks_of(plan):
        asyncio.run(serve(plan))


def wanted(part: float) -> int:
    """How many processes there should be: 1, then 3, then 2."""
    return 1 if part < 1 / 5 else 3 if part < 3 / 5 else 2


def perform(plan: Plan, folder: Path, seconds: float, seed: int = 7) -> Outcome:
    """Write for `seconds` while processes come and go; let two fresh ones drain the rest; judge."""
    chance, kills, stops = random.Random(seed), 0, 0
    told = folder / "drawn.json"
    with troupe(folder) as all_of_them:
        if plan.transport == KAFKA:
            plan = replace(plan, transport=_broker(plan, folder, seed, all_of_them))
        workers = [all_of_them.start(lambda: run_worker(plan))]
        _until(lambda: _has_tables(plan.url), 20)

        def write() -> None:
            drawn = produce(plan.transport, seconds) if plan.is_direct else Writers(plan.url).run(seconds)
            told.write_text(json.dumps(drawn))

        writing = all_of_them.start(write)
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            all_of_them.wake(now=now)
            all_of_them.check()
            while len(workers) < wanted((now - began) / seconds):
                workers.append(all_of_them.start(lambda: run_worker(plan)))
            while len(workers) > wanted((now - began) / seconds):
                all_of_them.kill(workers.pop(0))
                kills += 1
            awake = [each for each in workers if each not in all_of_them.stopped]  # who is stopped wakes, late
            victim = chance.choice(awake or workers)
            if not awake or chance.random() < 0.4:
                all_of_them.kill(victim)
                workers[workers.index(victim)] = all_of_them.start(lambda: run_worker(plan))
                kills += 1
            else:
                all_of_them.stop(victim, plan.lease_seconds * chance.uniform(1.7, 3.4))
                stops += 1
            time.sleep(chance.uniform(0.3, 0.9) * (2 if plan.transport != JOURNAL else 1))
        all_of_them.wake(now=float("inf"))
        all_of_them.wait(writing)
        drained = _drain(plan, all_of_them)
        all_of_them.check()
    drawn = json.loads(told.read_text())
    weather = {} if plan.transport == JOURNAL else json.loads((folder / "weather.json").read_text())
    return Outcome(sum(drawn.values()), kills, stops, drained, audit(plan.url, drawn), weather)


def _broker(plan: Plan, folder: Path, seed: int, all_of_them: Troupe) -> str:
    """Start a broker in bad weather; the URL of it for this service."""
    from tests.owners.weather import rage

    keeper = all_of_them.start(lambda: rage(folder, plan.url, seed))
    all_of_them.keepers.add(keeper)
    _until((folder / "url").exists, 90)
    return f"{(folder / 'url').read_text()}?prefix={PREFIX}"


def _drain(plan: Plan, all_of_them: Troupe) -> float:
    """Let two fresh processes finish everything; the seconds that it took.

    Without the fence a process that was stopped has moved positions back, which their owner does not notice.
    """
    time.sleep(plan.lease_seconds)
    all_of_them.check()
    all_of_them.clear(but=all_of_them.keepers)
    (all_of_them.folder / "calm").touch()
    began = time.monotonic()
    for _ in range(2):
        all_of_them.start(lambda: run_worker(plan))
    try:
        if plan.transport == JOURNAL:
            _until(lambda: _is_drained(plan.url), DRAIN_SECONDS_MAX)
        else:
            _until((all_of_them.folder / "drained").exists, DRAIN_SECONDS_MAX)
    except AssertionError as late:
        raise AssertionError(f"{late}: {_state(plan.url)}") from None
    return time.monotonic() - began


def _is_drained(url: str) -> bool:
    retrying = query(url, "SELECT count(*) FROM unsettled")[0][0]
    return not retrying and not unfinished(url)


def _state(url: str) -> str:
    """What everybody is doing, for people."""
    looks = (
        "SELECT owner, count(*), max(lease_until - clock_timestamp())::text FROM positions GROUP BY owner",
        "SELECT owner, (until - clock_timestamp())::text FROM members",
        "SELECT state, count(*) FROM unsettled GROUP BY state",
        "SELECT slot, count(*) FROM event_outbox GROUP BY slot",
        "SELECT slot, s0::text, s1::text, done, hi, rev, jsonb_array_length(beyond) FROM positions",
        "SELECT pid, state, wait_event, application_name, left(query, 60) FROM pg_stat_activity",
    )
    return "\n".join("\n  ".join(map(str, ["", *query(url, look)])) for look in looks)


def _has_tables(url: str) -> bool:
    return bool(query(url, "SELECT 1 WHERE to_regclass('seen') IS NOT NULL AND to_regclass('positions') IS NOT NULL"))


def _until(is_so: Callable[[], bool], seconds: float) -> None:
    """Wait for other processes. Raises AssertionError when it takes too long: what is lost is not what is late."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, f"not drained after {seconds:g} s"
        time.sleep(0.05)
