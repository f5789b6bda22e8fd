"""The entry point: parses, runs one command, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import TYPE_CHECKING

from eventseam.cli import db, demo, describe, dlq, journal, lag, outbox, republish, run, topology
from eventseam.cli.exits import Exit, complaint, exit_for
from eventseam.cli.parsing import Command, build_parser
from eventseam.cli.render import Screen
from eventseam.ports.probe import without_secrets

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS: tuple[Command, ...] = (
    run.COMMAND,
    describe.COMMAND,
    lag.COMMAND,
    outbox.COMMAND,
    *dlq.COMMANDS,
    *db.COMMANDS,
    *journal.COMMANDS,
    *topology.COMMANDS,
    republish.COMMAND,
    demo.COMMAND,
)
"""All commands, in the order of `--help`."""

_TAKES_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (the process's own, if none) and give back its exit code. Never raises an error."""
    _replace_closed_streams()
    return _delivered(_main(argv))


def _main(argv: Sequence[str] | None) -> int:
    """Parse and run."""
    typed = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(COMMANDS, typed=typed)
    try:
        args = parser.parse_args(typed)
    except SystemExit as end:  # argparse has printed help, or what is wrong
        return int(end.code or 0)
    if args.version:
        args.json, args.debug, args.command = False, False, _VERSION
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
        _give_stdout_up()  # whoever read it (`| head`) has enough
        return Exit.OK
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last stop: scripts get a code and one line
        if isinstance(error, OSError) and error.errno in _TAKES_NO_MORE and error.filename is None:
            return _lost(error)
        if args.debug:
            print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
        print(complaint(error), file=sys.stderr)
        return exit_for(error)


def _replace_closed_streams() -> None:
    """What the shell closed (`>&-`) becomes /dev/null: else the next file to be opened, the database, takes its number.

    A command whose stdout is closed does its work and tells its outcome by its exit code.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open till the end


def _delivered(code: int) -> int:
    """`code`, if stdout took all that was written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _give_stdout_up()
    except OSError as error:
        return _lost(error)
    return code


def _lost(error: OSError) -> int:
    """The end of a command whose answer could not be written."""
    _give_stdout_up()
    print(f"eventseam: the answer cannot be written: {error.strerror}. Check where stdout goes.", file=sys.stderr)
    return Exit.BUG


def _give_stdout_up() -> None:
    """Python must not write the rest of it at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_version(_args: argparse.Namespace, screen: Screen) -> int:
    """The installed version."""
    from importlib.metadata import version

    screen.write(f"eventseam {version('eventseam')}")
    return Exit.OK


_VERSION = Command("--version", "", "", (), lambda _: None, _print_version)
