"""The command: run the named cases, print the tables, keep a full run's results."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.codec import codec
from bench.imports import imports
from bench.inline import inline
from bench.measure import run
from bench.memory import memory
from bench.sqlite import consume, publish

if TYPE_CHECKING:
    from bench.measure import Case, Outcome

NAMES = ("codec", "inline", "import", "consume", "publish", "peers", "memory")
HERE = Path(__file__).parent


def main() -> None:
    """Run. A figure out of reach is said loudly, but is no error: machines differ."""
    options = _options()
    names = options.names or [name for name in NAMES if name != "memory" or not options.quick]
    rounds = options.rounds or (2 if options.quick else 5)
    outcomes: list[Outcome] = []
    grown: dict[str, Any] | None = None
    machine = report.machine(HERE)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=HERE) as folder:
        for name in names:
            if name == "memory":
                grown = memory(options.messages or (100_000 if options.quick else 1_000_000), Path(folder))
                print(report.memory_text(grown))
                continue
            outcomes.append(run(_case(name, Path(folder), quick=options.quick), rounds))
            print(report.case_text(outcomes[-1]))
    found = report.Report(machine, rounds, outcomes, grown)
    print(report.must_text(found))
    is_full = not options.names and not options.quick and not options.rounds
    report.save(found, HERE / "results" / ("latest" if is_full else "partial"))
    if is_full:
        report.save_page(found, HERE.parent / "docs" / "explanation" / "performance.md")


def _case(name: str, folder: Path, *, quick: bool) -> Case:
    scale = 1 if quick else 5
    if name == "codec":
        return codec(2_000 * scale)
    if name == "inline":
        return inline(10_000 * scale)
    if name == "import":
        return imports(scale, folder)
    if name == "consume":
        return consume(5_000 * scale, folder)
    if name == "publish":
        return publish(4_000 * scale, folder)
    from bench.peers import peers  # the peers are installed for `make bench` only

    return peers(1_000 * scale, folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help=f"cases to run; all of them without: {NAMES}")
    parser.add_argument("--quick", action="store_true", help="two short rounds, without memory: a look, not a result")
    parser.add_argument("--rounds", type=int, help="rounds of each case (5, quick 2)")
    parser.add_argument("--messages", type=int, help="messages of the case `memory` (1,000,000)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
