"""`eventseam demo`: its options, its files, its exit code: 0 if every check holds, 1 if not, 130 after Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from eventseam.app.settings import redact
from eventseam.demo.files import check_report
from eventseam.demo.meeting import EMBEDDED as BROKER_OF_OURS
from eventseam.demo.opening import EMBEDDED, opened_place
from eventseam.demo.options import Options
from eventseam.demo.run import run
from eventseam.demo.view import showing, summary, verdict
from eventseam.errors import SettingsError

if TYPE_CHECKING:
    from eventseam.demo.report import Report

INTERRUPTED = 130
PLAIN_WIDTH = 100

DATABASE = (
    "sqlite:///FILE or postgresql://USER@HOST/NAME, which is kept; postgresql:embedded is a PostgreSQL server of our "
    "own for this run (default: a temporary SQLite file)"
)
PROCESSES = (
    "with PostgreSQL: run each service in a process of its own with a database of its own (NAME_orders, NAME_payments, "
    "...; made if they are not there); they meet in the database NAME_bus, or where --transport says"
)
TRANSPORT = (
    "where services meet (default: in the journal): kafka://HOST:PORT, with topics behind a prefix of this run's own "
    "unless it says ?prefix=...; kafka:embedded is a broker of our own for this run; postgresql://USER@HOST/NAME"
)
OUTSIDE = (
    "where the card gateway and the warehouse keep their ledger, a SQLite file (default: beside the SQLite FILE, or "
    "NAME-outside in this folder)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's options."""
    default = Options()
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="real orders: orders, items, payments and customers, each .csv")
    add("--report", type=Path, metavar="FILE", help="write what happened as JSON")
    add("--outage", type=_seconds, metavar="SECONDS", help="how long payments is down in the middle (default 5)")
    add("--database", metavar="URL", help=DATABASE)
    add("--transport", metavar="URL", help=TRANSPORT)
    add("--processes", action="store_true", help=PROCESSES)
    add("--outside", type=Path, metavar="FILE", help=OUTSIDE)
    add("--only", choices=("events", "chain"), help="run one of the two shops")
    add("--resume", action="store_true", help="after a kill: go on with the same --database and the same orders")
    add("--poison", type=_count, metavar="N", help="let a foreign program put N malformed events into the journal")
    add("--rate", type=_rate, metavar="N", help="orders a second (default 200)")
    add("--seed", type=int, metavar="N", help="which generated orders, without --data (default 1)")
    add("--orders", type=_count, metavar="N", help="how many generated orders (default 4049)")
    parser.set_defaults(
        outage=default.outage_seconds,
        poison=default.poison,
        rate=default.rate,
        seed=default.seed,
        orders=default.orders,
    )


def main(args: argparse.Namespace) -> int:
    """Run the demo. Raises SettingsError, DataError or StorageError for options that cannot be followed."""
    if args.report:
        check_report(args.report)
    logging.getLogger("eventseam").addHandler(logging.NullHandler())  # what a client says of itself is for no reader
    options = Options(
        data=args.data,
        outage_seconds=args.outage,
        database=args.database,
        transport=args.transport,
        outside=args.outside,
        processes=args.processes,
        only=args.only,
        resume=args.resume,
        poison=args.poison,
        rate=args.rate,
        seed=args.seed,
        orders=args.orders,
    )
    console = _console(as_json=args.json)
    orders = options.load()
    try:
        with opened_place(options) as where, showing(console) as show:
            report = asyncio.run(run(options, orders, where, show))
    except KeyboardInterrupt:
        print(_farewell(options), file=sys.stderr)
        return INTERRUPTED
    _tell(report, console, args)
    return 0 if report.is_good else 1


def _tell(report: Report, console: Console, args: argparse.Namespace) -> None:
    """The table and the verdict for a person, JSON for a program and for --report."""
    document = msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    if args.json:
        sys.stdout.write(document)
    else:
        console.print(summary(report))
        console.print()
        console.print(verdict(report))
    if args.report:
        try:
            args.report.write_text(document, encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"--report {args.report} could not be written: {error.strerror}.") from error


def _console(*, as_json: bool) -> Console:
    """Progress goes to stdout, or to stderr where stdout carries the JSON."""
    stream = sys.stderr if as_json else sys.stdout
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=PLAIN_WIDTH, highlight=False)


def _farewell(options: Options) -> str:
    if options.database in (None, EMBEDDED):
        return "Stopped. The database was temporary and is gone; with --database URL, a stopped demo can be resumed."
    if options.transport == BROKER_OF_OURS:
        return "Stopped. The broker was of this run and is gone; with --transport URL, a stopped demo can be resumed."
    url = options.database or ""
    words = ["eventseam", "demo", "--resume", "--database", url if url.startswith("sqlite:") else redact(url)]
    words += ["--transport", redact(options.transport)] if options.transport else []
    words += ["--processes"] if options.processes else []
    words += ["--outside", str(options.outside)] if options.outside else []
    words += (
        ["--data", str(options.data)]
        if options.data
        else ["--seed", f"{options.seed}", "--orders", f"{options.orders}"]
    )
    words += ["--outage", f"{options.outage_seconds:g}", "--rate", f"{options.rate:g}"]
    words += ["--only", options.only] if options.only else []
    words += ["--poison", f"{options.poison}"] if options.poison else []
    return f"Stopped; nothing that was accepted is lost. Go on with:\n  {shlex.join(words)}"


def _seconds(text: str) -> float:
    return _number(text, 0.0, 3600.0)


def _rate(text: str) -> float:
    return _number(text, 0.1, 100_000.0)


def _count(text: str) -> int:
    return int(_number(text, 0, 1_000_000))


def _number(text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:,.0f}, not '{text}'")
    return number
