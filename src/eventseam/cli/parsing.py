"""The grammar of the command line: what a command is, and the parser that is made of all of them.

Every command has examples, `--json` and `--debug`. A wrong command line ends with exit code 2 and one line on stderr.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NoReturn, TypeAlias

from eventseam.cli.exits import MEANINGS, Exit, UsageError, complaint
from eventseam.cli.render import Screen

_LIKE_A_URL = re.compile(r"\b(?:postgres\w*[:/][^\s']*|[^\s'=]+:[^\s']*@)", re.IGNORECASE)
"""What was typed in the wrong place and may hold a password, however misspelt the URL is."""

LIMIT_DEFAULT = 100
LIMIT_MAX = 10_000


Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
"""What `add_subparsers` gives: argparse has no public name for it."""


class Parser(argparse.ArgumentParser):
    """argparse, with one line for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2. Values that were typed are shown without passwords."""
        shown = _LIKE_A_URL.sub("***", message)
        self.exit(Exit.USAGE, complaint(UsageError(f"{shown}. See: {self.prog} --help")) + "\n")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, what `--help` says, its own arguments, and what runs it.

    `run` gets the parsed arguments and the screen, and gives back the exit code. `arguments` may import what is slow:
    it is asked only for a command that was typed.
    """

    name: str
    summary: str
    details: str
    examples: Sequence[str]
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Screen], int]
    exits: Sequence[Exit] = (Exit.OK, Exit.USAGE, Exit.WIRING, Exit.STORAGE)


GROUPS = MappingProxyType(
    {
        "dlq": "dead letters, and what waits behind them",
        "db": "the schema of the database, and the server it is on",
        "journal": "what the journal keeps, who reads it, and what to do after a restore",
        "topology": "channels and partitions at a broker",
    }
)
"""The words that are followed by a second one, and what they are about."""


def build_parser(commands: Sequence[Command], *, typed: Sequence[str] | None = None) -> Parser:
    """The parser of `commands`. With `typed`, arguments are asked only of commands that begin with its first word."""
    root = Parser(prog="eventseam", description="Run and inspect an Eventseam app.", epilog=_root_epilog())
    root.formatter_class = argparse.RawDescriptionHelpFormatter
    root.add_argument("--version", action="store_true", help="print the version and end")
    top = root.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)
    inside: dict[str, Subparsers] = {}
    for command in commands:
        group, _, name = command.name.rpartition(" ")
        if group and group not in inside:
            inside[group] = _add_group(top, group)
        parser = (inside[group] if group else top).add_parser(
            name,
            help=command.summary,
            description=command.details,
            epilog=_epilog(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(command=command)
        if typed is None or command.name.split()[0] in typed[:1]:
            _fill(parser, command)
    return root


def _add_group(top: Subparsers, group: str) -> Subparsers:
    """A word that needs a second one."""
    about = GROUPS[group]
    parser = top.add_parser(group, help=about, description=about.capitalize() + ".")
    return parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser, required=True)


def arguments_of(command: Command) -> list[argparse.Action]:
    """A command's arguments in the order of its help, `--help` left out."""
    parser = Parser(add_help=False)
    _fill(parser, command)
    return parser._actions  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - argparse has no public list


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    """A command's own arguments, then those that all have."""
    command.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document with stable keys")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _epilog(command: Command) -> str:
    """Examples and exit codes, as `--help` ends."""
    examples = "\n".join(f"  {line}" for line in command.examples)
    return f"Examples:\n{examples}\n\nExit codes:\n{exit_lines((*command.exits, Exit.INTERRUPTED))}"


def _root_epilog() -> str:
    """How to go on from `eventseam --help`."""
    return (
        "Examples:\n  eventseam demo\n  eventseam run shop:create\n  eventseam dlq list --database sqlite:///shop.db\n\n"
        "Every command has --json, and examples in its own --help."
    )


def exit_lines(exits: Sequence[Exit]) -> str:
    """Exit codes with their meanings, one a line."""
    return "\n".join(f"  {code:>3}  {MEANINGS[Exit(code)]}" for code in exits)


def limit(text: str) -> int:
    """An argparse type: how many rows to list, 1 to LIMIT_MAX."""
    if not text.isdecimal() or not 1 <= int(text) <= LIMIT_MAX:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {LIMIT_MAX}, not '{text}'")
    return int(text)


def target(text: str) -> str:
    """An argparse type: the name of a factory, `package.module:function`."""
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", text):
        file = re.fullmatch(r"(?:\./)?(\w+(?:/\w+)*)\.py(?::(\w+))?", text)
        right = f"{file[1].replace('/', '.')}:{file[2] or 'create'}" if file else ""
        hint = f"; did you mean {right}?" if right else ""
        raise argparse.ArgumentTypeError(f"must be MODULE:FACTORY (such as shop:create), not '{text}'{hint}")
    return text


def seconds(text: str) -> float:
    """An argparse type: a length of time, not negative."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text):
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not '{text}'")
    return float(text)


def row_count(text: str) -> int:
    """An argparse type: how many, not negative."""
    if not re.fullmatch(r"\d{1,18}", text):
        raise argparse.ArgumentTypeError(f"must be a number, not '{text}'")
    return int(text)


def hours(text: str) -> float:
    """An argparse type: a length of time in hours, not negative."""
    if not re.fullmatch(r"\d{1,7}(\.\d{1,6})?", text):
        raise argparse.ArgumentTypeError(f"must be a number of hours, not '{text}'")
    return float(text)


def time(text: str) -> datetime:
    """An argparse type: a time with its zone; a date alone is its midnight in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is not None and found.tzinfo is None and re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        found = found.replace(tzinfo=UTC)
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"must be a time with its zone, such as 2026-01-31T12:00:00Z, not '{text}'")
    return found.astimezone(UTC)


def row_id(text: str) -> int:
    """An argparse type: the number of a row."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be the number that `dlq list` shows, not '{text}'")
    return int(text)


def url(text: str) -> str:
    """An argparse type: the URL of a database; an empty variable of the shell is none."""
    if not text:
        raise argparse.ArgumentTypeError("is empty: give the URL, or leave it out for EVENTSEAM_DATABASE")
    return text


def names(text: str) -> tuple[str, ...]:
    """An argparse type: names with commas between them."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError("must name at least one service (such as orders,payments)")
    return found


def add_limit(parser: argparse.ArgumentParser) -> None:
    """`--limit`, as every list has it."""
    parser.add_argument(
        "--limit",
        type=limit,
        default=LIMIT_DEFAULT,
        metavar="N",
        help=f"list at most N rows (default {LIMIT_DEFAULT}, at most {LIMIT_MAX})",
    )


def add_database(parser: argparse.ArgumentParser) -> None:
    """`--database`, as every command that reads the store has it."""
    parser.add_argument(
        "--database",
        type=url,
        metavar="URL",
        help="the app's database, such as sqlite:///shop.db (default: the environment's EVENTSEAM_DATABASE)",
    )
