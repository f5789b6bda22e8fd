"""`eventseam run`: runs the services of an app until it is told to stop.

The first SIGINT or SIGTERM stops gracefully: what runs may end, nothing unfinished is settled. The second one hurries:
what still runs is cancelled. A third one ends the process at once, which loses nothing that was committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from eventseam.cli.exits import Exit
from eventseam.cli.parsing import Command, names, target
from eventseam.cli.render import Screen, count_of, time_of
from eventseam.cli.target import load_app
from eventseam.clock import SystemClock
from eventseam.observe.logs import JsonLogs, TextLogs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from eventseam.app.app import App
    from eventseam.ports.probe import Observation, Probe


class Both:
    """A probe that tells two."""

    def __init__(self, first: Probe, second: Probe) -> None:
        """Tell `first`, then `second`."""
        self._probes = (first, second)

    def observe(self, observation: Observation) -> None:
        """Tell both."""
        for probe in self._probes:
            probe.observe(observation)


class Stop:
    """What signals have asked of a running task: to stop, to hurry, to end at once."""

    def __init__(self, task: asyncio.Task[None], tell: Callable[[], None]) -> None:
        """Stop `task`; at the first signal `tell` somebody that it may take a while."""
        self._task = task
        self._tell = tell
        self.asked: list[signal.Signals] = []

    def __call__(self, number: signal.Signals) -> None:
        """A signal came."""
        self.asked.append(number)
        if len(self.asked) > 2:  # noqa: PLR2004 - see the module's docstring
            os._exit(128 + number)
        if len(self.asked) == 1:
            self._tell()
        self._task.cancel()

    def listen(self) -> None:
        """Take SIGINT and SIGTERM. Where a loop cannot (Windows), Ctrl-C is a KeyboardInterrupt as ever."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self, number)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=target, metavar="MODULE:FACTORY", help="the function that returns the App")
    parser.add_argument("--only", type=names, metavar="A,B", help="run these services only (default: all)")
    parser.add_argument(
        "--logs", choices=("text", "json"), default="text", help="how to log, on stderr (default: text)"
    )
    parser.add_argument(
        "--log-level",
        choices=("info", "warning"),
        default="info",
        help="info has a line for each transaction (default); warning has what asks for attention",
    )


def _run(args: argparse.Namespace, screen: Screen) -> int:
    """Load the app and run it on a loop of its own."""
    app = load_app(args.target)
    app.probe = _probe(app.probe, args)
    return asyncio.run(_serve(app, args, screen))


def _probe(own: Probe | None, args: argparse.Namespace) -> Probe:
    """Who is told what the engine does: the app's own probe, the logs that were asked for, or both."""
    if own is not None and args.logs is None:
        return own
    logs = JsonLogs if args.logs == "json" else TextLogs
    chosen = logs(sys.stderr, level=args.log_level)
    return chosen if own is None else Both(own, chosen)


async def _serve(app: App, args: argparse.Namespace, screen: Screen) -> int:
    """Run until a signal or an error: 130 after Ctrl-C, 0 after SIGTERM."""
    task = asyncio.current_task()
    assert task is not None
    stop = Stop(task, lambda: _tell_stopping(app.settings.grace_seconds, as_json=args.logs == "json"))
    stop.listen()
    try:
        async with app.running(args.only):
            _announce(app, args.only, screen)
            await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        if not stop.asked:
            raise
    return Exit.INTERRUPTED if stop.asked[:1] == [signal.SIGINT] else Exit.OK


def _tell_stopping(grace_seconds: float, *, as_json: bool) -> None:
    """One line on stderr, in the form of the logs there."""
    line = f"stopping: finishing what runs, up to {grace_seconds:g} s; Ctrl-C again to hurry"
    if as_json:
        now = time_of(SystemClock().now().timestamp())
        line = json.dumps({"ts": now, "level": "info", "event": "stopping", "grace_seconds": grace_seconds})
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _announce(app: App, only: Sequence[str] | None, screen: Screen) -> None:
    """One line, or one JSON document, once the services are running."""
    services = [each for each in app.services if only is None or each.name in only]
    channels = sorted({kind.channel.name for service in services for kind in service.message_types()})
    counts = ", ".join(f"{each.name} ({count_of(len(each.declarations), 'handler')})" for each in services)
    database = str(app.settings.database)
    document = {"running": [each.name for each in services], "channels": channels, "database": database}
    screen.banner(document, f"Running {counts} on {database}, listening to {', '.join(channels)}. Ctrl-C stops.")


COMMAND = Command(
    name="run",
    summary="run an app's services until stopped",
    details=(
        "Run an app's services until Ctrl-C or SIGTERM. The first one stops gracefully, the second hurries, the third\n"
        "ends the process at once; whatever was not finished is handled at the next start."
    ),
    examples=(
        "eventseam run shop:create",
        "eventseam run shop:create --only payments,email --logs json",
        "eventseam run shop:create --log-level warning",
    ),
    arguments=_arguments,
    run=_run,
    exits=(Exit.OK, Exit.USAGE, Exit.WIRING, Exit.STORAGE),
)
