"""The entry point: parses, runs one command, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

from eventseam.cli import demo, describe, dlq, lag, outbox, run
from eventseam.cli.exits import Exit, complaint, exit_for
from eventseam.cli.parsing import Command, build_parser
from eventseam.cli.render import Screen
from eventseam.observe.logs import without_secrets

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS: tuple[Command, ...] = (
    run.COMMAND,
    describe.COMMAND,
    lag.COMMAND,
    outbox.COMMAND,
    *dlq.COMMANDS,
    demo.COMMAND,
)
"""All commands, in the order of `--help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (the process's own, if none) and give back its exit code. Never raises an error."""
    typed = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(COMMANDS, typed=typed)
    try:
        args = parser.parse_args(typed)
    except SystemExit as end:  # argparse has printed help, or what is wrong
        return int(end.code or 0)
    if args.version:
        return _print_version()
    if not hasattr(args, "command"):
        parser.print_help(sys.stderr)
        return Exit.USAGE
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    """Run the parsed command; errors become a line on stderr."""
    screen = Screen(sys.stdout, as_json=args.json)
    command: Command = args.command
    try:
        return int(command.run(args, screen))
    except BrokenPipeError:
        # Whoever read stdout (`| head`) has enough; Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last stop: scripts get a code and one line
        if args.debug:
            print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
        print(complaint(error), file=sys.stderr)
        return exit_for(error)


def _print_version() -> int:
    """The installed version."""
    from importlib.metadata import version

    print(f"eventseam {version('eventseam')}")
    return Exit.OK
