"""The six-process shop on PostgreSQL under faults of five kinds, as often as asked of each; as many demos as it takes.

Everything goes through a proxy, so that connections can be cut; the databases are on a small disk, so that it can be
full. A demo must end with the totals that the rules say, and a clean audit.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from eventseam.demo.where import NAMES
from eventseam.testing.servers import postgres
from tests.chaos.faults import LEASE_SECONDS, Faults, children, small_disk
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE_SECONDS = (0.2, 1.2)
START_SECONDS_MAX = 60.0
END_SECONDS_MAX = 600.0

SMALL = "CREATE TABLESPACE small LOCATION '{}'"


@dataclass(frozen=True)
class Plan:
    """How often each fault happens, and to which demo."""

    each: int
    words: tuple[str, ...]
    seed: int
    tell: Callable[[dict[str, Any]], None]


def chaos(plan: Plan) -> int:
    """Let every fault happen; 0 if all demos ended right."""
    chance = random.Random(plan.seed)
    started = time.monotonic()
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        disk = stack.enter_context(small_disk(server))
        proxy = stack.enter_context(Proxy(server.port))
        if disk:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute(SMALL.format(disk / "tablespace"))
        else:
            print("  no full disk: mounting a small one needs root", flush=True)
        faults = Faults(server, proxy, disk, chance)
        line = [kind for kind in faults.kinds() for _ in range(plan.each)]
        chance.shuffle(line)
        print(f"{len(line)} faults ({', '.join(faults.kinds())}), seed {plan.seed}", flush=True)
        right: list[bool] = []
        while line or not right:
            right.append(_one_demo(plan, faults, line, len(right)))
            if not right[-1]:
                break
    seconds = time.monotonic() - started
    _print_counts("faults", faults.done)
    _print_counts("effects", faults.effects)
    print(f"{faults.done.total()} faults, {len(right)} demos, {sum(right)} ended right, in {seconds:.0f} s")
    return 0 if all(right) and not line else 1


def _one_demo(plan: Plan, faults: Faults, line: list[str], number: int) -> bool:
    """Run one demo while faults are left, and let it end; whether it ended right."""
    url = _databases(faults, f"shop{number}")
    environment = {**os.environ, "EVENTSEAM_LEASE_SECONDS": str(LEASE_SECONDS)}
    with tempfile.TemporaryDirectory(prefix="eventseam-chaos-") as folder:
        words = [sys.executable, "-m", "eventseam.cli", "demo", "--database", url, "--processes", *plan.words]
        words += ["--report", "report.json"]
        log = Path(folder) / "errors"
        with log.open("wb") as errors:
            demo = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            faults.demo = demo.pid
            _until_complete(demo)
            while line and demo.poll() is None:
                if faults.happen(line[-1]):
                    print(f"{faults.done.total():>4} {line.pop()}", flush=True)
                time.sleep(faults.chance.uniform(*PAUSE_SECONDS))
            code = demo.wait(END_SECONDS_MAX)
        finally:
            demo.kill()
            demo.wait()
        report = Path(folder) / "report.json"
        if not report.exists():
            print(f"  no report: exit code {code}: {log.read_text()[-2_000:]}", flush=True)
            return False
        found = json.loads(report.read_text(encoding="utf-8"))
        plan.tell(found)
        return code == 0 and all(found["checks"].values())


def _databases(faults: Faults, name: str) -> str:
    """The seven databases of a demo, on the small disk if there is one; the URL by way of the proxy."""
    where = " TABLESPACE small" if faults.disk else ""
    with psycopg.connect(faults.server.url, autocommit=True) as connection:
        for each in (name, *(f"{name}_{service}" for service in (*NAMES, "bus"))):
            connection.execute(f"CREATE DATABASE {each} TEMPLATE template0{where}")
    return faults.proxy.url(faults.server.url_of(name))


def _until_complete(demo: subprocess.Popen[bytes]) -> None:
    """Wait for all six processes: before, there is nothing to disturb."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while len(children(demo.pid)) < len(NAMES) and demo.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _print_counts(what: str, counts: Counter[str]) -> None:
    print(f"{what}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())), flush=True)
