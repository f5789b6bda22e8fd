"""`make chaos`: kill -9 the event-driven shop at random moments, resume it each time, and compare the totals.

A demo that ends before all kills are spent is judged, and a new one is begun for the rest. The seed is printed: with
the same one the delays are the same, though the machine decides what they hit. Exit code 0 if every demo ended right.

With `--database postgresql:embedded --processes`: six processes on PostgreSQL, which are killed and stopped, whose
server crashes, whose connections are cut and whose disk is full, `--each` times each.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

END_SECONDS_MAX = 240
DELAY_SECONDS = (0.2, 3.0)
RATE = 120

PROGRESS = "SELECT count(*), coalesce(sum(status <> 'accepted'), 0) FROM orders"
TOTALS = ("accepted", "confirmed", "rejected_items_unavailable", "rejected_payment_failed")
AUDIT = ("lost", "duplicated", "out_of_order", "dead_letters")


def command(args: argparse.Namespace, folder: Path) -> list[str]:
    """The demo, on one database, new or resumed."""
    where = ["--data", str(args.data)] if args.data else ["--orders", str(args.orders)]
    files = ["--database", f"sqlite:///{folder / 'shop.db'}", "--report", str(folder / "report.json")]
    rest = ["--only", "events", "--resume", "--rate", str(RATE), "--outage", str(args.outage)]
    return [sys.executable, "-m", "eventseam.cli", "demo", *where, *files, *rest]


def killed_after(words: list[str], seconds: float) -> bool:
    """Run the demo and kill -9 it after `seconds`; False if it ended before."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def progress(folder: Path) -> str:
    """How far the shop is, as its own table says."""
    if not (folder / "shop.db").exists():
        return "no database yet"
    with closing(sqlite3.connect(folder / "shop.db", timeout=10)) as shop:
        try:
            accepted, decided = shop.execute(PROGRESS).fetchone()
        except sqlite3.OperationalError:
            return "no tables yet"
    return f"{accepted} accepted, {decided} decided"


def one_demo(args: argparse.Namespace, folder: Path, delays: list[float], numbers: list[int]) -> bool:
    """Kill one demo until it ends or the delays are spent, then let it end; whether it ended right."""
    (folder / "shop.db").touch()  # even the first run may be killed before it has made a file that can be resumed
    words = command(args, folder)
    while delays:
        seconds = delays.pop()
        if not killed_after(words, seconds):
            delays.append(seconds / 2)  # it has ended before: the next demo is killed sooner
            break
        numbers.append(len(numbers) + 1)
        print(f"kill {numbers[-1]:>3} after {seconds:4.1f} s: {progress(folder)}", flush=True)
    done = subprocess.run(words, stdout=subprocess.DEVNULL, timeout=END_SECONDS_MAX, check=False)
    if not (folder / "report.json").exists():
        print(f"  no report: exit code {done.returncode}", flush=True)
        return False
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    print_report(report)
    return done.returncode == 0 and all(report["checks"].values())


def print_report(report: dict) -> None:
    """The figures of a demo that has ended."""
    orders, events, outage = report["orders"], report["events"], report["outage"]
    print("  " + ", ".join(f"{name} {orders[name]}" for name in TOTALS), flush=True)
    print("  " + ", ".join(f"{name} {events[name]}" for name in AUDIT) + f", revenue {report['read_model']['revenue']}")
    told = f"published {events['published']}, retries {events['retries']}"
    told += f", duplicates absorbed {events['duplicates_absorbed']}"
    print(f"  {told}, accepted during the outage {outage['accepted_during']}")
    wrong = [check for check, holds in report["checks"].items() if not holds]
    print("  all checks hold" if not wrong else f"  NOT TRUE: {'; '.join(wrong)}", flush=True)


def on_postgres(args: argparse.Namespace) -> int:
    """All faults against the six processes."""
    from tests.chaos.six import Plan, chaos  # needs the drivers

    where = ["--data", str(args.data.absolute())] if args.data else ["--orders", str(args.orders)]
    words = (*where, "--only", "events", "--rate", str(args.rate), "--outage", str(args.outage))
    return chaos(Plan(args.each, words, args.seed, print_report))


def main() -> int:
    """Spend all kills; 0 if every demo ended right."""
    parser = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="real orders (default: generated)")
    parser.add_argument("--orders", type=int, default=4049, help="how many to generate")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--outage", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--database", choices=("postgresql:embedded",), help="default: a SQLite file")
    parser.add_argument("--processes", action="store_true", help="with PostgreSQL: six processes, six databases")
    parser.add_argument("--each", type=int, default=20, help="with PostgreSQL: how often each kind of fault happens")
    parser.add_argument("--rate", type=int, default=60, help="with PostgreSQL: orders a second")
    args = parser.parse_args()
    if bool(args.database) != args.processes:
        parser.error("--database postgresql:embedded and --processes go together")
    if args.processes:
        return on_postgres(args)
    chance = random.Random(args.seed)
    delays = [chance.uniform(*DELAY_SECONDS) for _ in range(args.kills)]
    print(f"{args.kills} kills, seed {args.seed}", flush=True)
    right, numbers = [], []
    while delays or not right:
        with tempfile.TemporaryDirectory(prefix="eventseam-chaos-") as folder:
            right.append(one_demo(args, Path(folder), delays, numbers))
    print(f"{len(numbers)} kills, {len(right)} demos, {sum(right)} ended right")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
