"""Several processes of one service under kill -9 and SIGSTOP: `python -m tests.owners --seconds 25` prints a table.

Each line is a run of its own: 1, then 3, then 2 processes, 12 writers. Exit code 1 if anything was lost, doubled or
inverted with at least one of inbox and fence on; without either, something must be, or the audit is blind. With
`--transport kafka` each process relays what is written to a Kafka of 6 partitions and reads it there, while the broker
is killed and the network is cut; with `--direct` it is written to Kafka itself. `--hot` heats 50 rows with 4 committers
instead, and counts deadlocks in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from eventseam.testing.servers import postgres
from tests.owners.hot import heat
from tests.owners.stage import JOURNAL, KAFKA, perform
from tests.owners.worker import FORMS, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.owners.audit import Verdict

LOCKS = {"both": (True, True), "fence": (False, True), "inbox": (True, False), "neither": (False, False)}
LINE = "{:16} {:8} {:>7} {:>6} {:>6} {:>8}  {}"
WEATHER = ("restarts", "cuts", "refusals", "silences")


def main(arguments: list[str]) -> int:
    """Play every form under the chosen locks; 0 if each ended as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.owners", description=__doc__)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--form", choices=FORMS, action="append", help="default: all")
    parser.add_argument("--locks", choices=LOCKS, action="append", help="which of the two are on; default: all four")
    parser.add_argument("--lease", type=float, default=0.6)
    parser.add_argument("--transport", choices=(KAFKA,), help="default: the journal")
    parser.add_argument("--direct", action="store_true", help="writers are producers of the broker, without a journal")
    parser.add_argument("--hot", action="store_true")
    args = parser.parse_args(arguments)
    logging.getLogger("eventseam.kafka").addHandler(logging.NullHandler())  # in bad weather clients have much to say
    if args.hot:
        return _hot(args.seconds, args.form or ("record", "tx in a thread"))
    print(f"seed {args.seed}, lease {args.lease:g} s, {args.seconds:g} s each", flush=True)
    print(LINE.format("handler", "locks", "rows", "kills", "stops", "drain s", "lost/doubled/inverted"), flush=True)
    is_right = True
    with postgres() as server:
        for form in args.form or (FORMS if args.transport is None else FORMS[:1]):
            for locks in args.locks or LOCKS:
                name = f"{form}_{locks}".replace(" ", "_")
                inbox, fence = LOCKS[locks]
                transport = args.transport or JOURNAL
                plan = Plan(server.database(name), form, args.lease, inbox, fence, transport, args.direct)
                with tempfile.TemporaryDirectory(prefix="owners-") as folder:
                    got = perform(plan, Path(folder), args.seconds, args.seed)
                if got.weather:
                    print(", ".join(f"{each} {got.weather[each]}" for each in WEATHER), flush=True)
                print(LINE.format(form, locks, got.rows, got.kills, got.stops, f"{got.drain_seconds:.1f}",
                                  "/".join(map(str, got.verdict))), flush=True)  # fmt: skip
                is_right = is_right and _is_right(got.verdict, plan)
    return 0 if is_right else 1


def _is_right(verdict: Verdict, plan: Plan) -> bool:
    """Whether a run ended as it must. A relay repeats itself after a kill, and only the inbox absorbs that."""
    if plan.transport == KAFKA and not plan.is_direct and plan.fence and not plan.inbox:
        return not (verdict.lost or verdict.inverted)
    return verdict.is_clean == (plan.inbox or plan.fence)


def _hot(seconds: float, forms: Sequence[str]) -> int:
    is_right = True
    with postgres() as server:
        for form in forms:
            got = asyncio.run(heat(server, server.database(f"hot_{form}".replace(" ", "_")), seconds, form))
            print(f"{form}: {got.messages} messages in {got.seconds:.0f} s, {got.added} of {got.expected} additions, "
                  f"{got.deadlocks} deadlocks", flush=True)  # fmt: skip
            is_right = is_right and not got.deadlocks and got.added == got.expected
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
