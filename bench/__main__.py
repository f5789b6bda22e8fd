"""The command: run the named cases, print the tables, keep a full run's results."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from dataclasses import replace
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
    from collections.abc import Callable, Sequence

    from bench.kafka.topics import Topics
    from bench.measure import Case, Outcome
    from bench.postgres.databases import Databases

NAMES = ("codec", "inline", "import", "consume", "publish", "peers", "memory")
ON_POSTGRESQL = ("pg-consume", "pg-publish", "pg-relay", "pg-latency", "pg-hot", "pg-size")
ON_KAFKA = ("kafka-consume", "kafka-relay")
LONG = ("memory", "pg-size")
"""Not in a quick look."""
HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "explanation" / "performance.md"
SIZE_ROWS, SIZE_ROWS_QUICK = 10_000_000, 1_000_000


def main() -> None:
    """Run. A figure out of reach is said loudly, but is no error: machines differ."""
    options = _options()
    is_full = not options.quick and not options.rounds and not options.names
    wished = [names for names, wish in ((ON_POSTGRESQL, options.postgresql), (ON_KAFKA, options.kafka)) if wish]
    chosen = options.names or [name for names in wished or (NAMES, ON_POSTGRESQL, ON_KAFKA) for name in names]
    names = [name for name in chosen if options.names or not options.quick or name not in LONG]
    embedded, on_postgresql, on_kafka = (
        [each for each in names if each in those] for those in (NAMES, ON_POSTGRESQL, ON_KAFKA)
    )
    if embedded:
        _report(_run_embedded(embedded, options), "latest", is_full=is_full)
    if on_postgresql:
        found = _run_on_postgresql(on_postgresql, options, "postgres" if is_full else "partial")
        _report(found, "postgres", is_full=is_full)
    if on_kafka:
        _report(_run_on_kafka(on_kafka, options), "kafka", is_full=is_full)


def _report(found: report.Report, name: str, *, is_full: bool) -> None:
    """Print what must be reached and keep the results: of a full run on the page as well."""
    print(report.must_text(found))
    report.save(found, HERE / "results" / (name if is_full else "partial"))
    if is_full:
        report.save_page(found, PAGE, name)


def _run_embedded(names: Sequence[str], options: argparse.Namespace) -> report.Report:
    outcomes: list[Outcome] = []
    grown: dict[str, Any] | None = None
    machine = report.machine(HERE)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=HERE) as folder:
        for name in names:
            if name == "memory":
                grown = memory(options.messages or (100_000 if options.quick else 1_000_000), Path(folder))
                print(report.memory_text(grown))
            else:
                outcomes.append(_run(lambda name=name: _case(name, Path(folder), quick=options.quick), options))  # type: ignore[misc]
    return report.Report(machine, _rounds(options), outcomes, grown)


def _run_on_postgresql(names: Sequence[str], options: argparse.Namespace, name: str) -> report.Report:
    """The cases on a server of our own, which is gone at the end. Kept after each case: the last ones are long."""
    from bench.postgres.databases import databases

    with ExitStack() as stack:
        server = stack.enter_context(databases())
        found = report.Report(
            report.machine(HERE, f"PostgreSQL {server.version()}", report.ON_POSTGRESQL), _rounds(options), [], None
        )
        for case in names:
            outcome = _run(lambda case=case: _case_on(case, server, options), options)  # type: ignore[misc]
            found = replace(found, outcomes=[*found.outcomes, outcome])
            report.save(found, HERE / "results" / name)
    return found


def _run_on_kafka(names: Sequence[str], options: argparse.Namespace) -> report.Report:
    """The cases with Kafka, on a broker and a PostgreSQL server of our own."""
    from bench.kafka.topics import topics
    from bench.postgres.databases import databases

    with databases() as server, topics() as broker:
        database = f"PostgreSQL {server.version()}, Kafka {broker.version()}"
        machine = report.machine(HERE, database, report.ON_KAFKA)
        outcomes = [_run(lambda name=name: _case_on_kafka(name, server, broker, options), options) for name in names]  # type: ignore[misc]
    return report.Report(machine, _rounds(options), outcomes, None)


def _run(make: Callable[[], Case], options: argparse.Namespace) -> Outcome:
    outcome = run(make(), _rounds(options))
    print(report.case_text(outcome), flush=True)
    return outcome


def _rounds(options: argparse.Namespace) -> int:
    return options.rounds or (2 if options.quick else 5)


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


def _case_on(name: str, server: Databases, options: argparse.Namespace) -> Case:
    from bench.postgres import consume, hot, latency, publish, relay, size

    scale = 1 if options.quick else 4
    if name == "pg-consume":
        return consume.consume(5_000 * scale, server)
    if name == "pg-publish":
        return publish.publish(250 * scale, server)
    if name == "pg-relay":
        return relay.relay(12_500 * scale, server)
    if name == "pg-latency":
        return latency.latency(2.0 * scale, server)
    if name == "pg-hot":
        return hot.hot(2_500 * scale, server)
    return size.size(2_500 * scale, server, options.rows or (SIZE_ROWS_QUICK if options.quick else SIZE_ROWS))


def _case_on_kafka(name: str, server: Databases, broker: Topics, options: argparse.Namespace) -> Case:
    from bench.kafka import consume, relay

    scale = 1 if options.quick else 8
    if name == "kafka-consume":
        return consume.consume(10_000 * scale, server, broker)
    return relay.relay(5_000 * scale, server, broker)


def _options() -> argparse.Namespace:
    names = (*NAMES, *ON_POSTGRESQL, *ON_KAFKA)
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names, []], help=f"cases to run; all of them without: {names}")
    parser.add_argument("--postgresql", action="store_true", help="without names: the cases on PostgreSQL only")
    parser.add_argument("--kafka", action="store_true", help="without names: the cases with Kafka only")
    parser.add_argument("--quick", action="store_true", help=f"two short rounds, without {LONG}: a look, not a result")
    parser.add_argument("--rounds", type=int, help="rounds of each case (5, quick 2)")
    parser.add_argument("--messages", type=int, help="messages of the case `memory` (1,000,000)")
    parser.add_argument("--rows", type=int, help=f"old rows of the case `pg-size` ({SIZE_ROWS:,}: 5 GB, 10 minutes)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
