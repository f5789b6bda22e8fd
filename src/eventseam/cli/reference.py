"""Writes docs/reference/cli.md from the parsers, so that the page cannot say anything that `--help` does not.

`python -m eventseam.cli.reference FILE` writes it; with `--check` it ends with 1 if the file is not up to date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eventseam.cli.exits import MEANINGS, Exit
from eventseam.cli.main import COMMANDS
from eventseam.cli.parsing import Command, arguments_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = """\
# Command line

`eventseam` (alias `seam`) runs an app and looks into its database. This page is generated from the commands:
`python -m eventseam.cli.reference docs/reference/cli.md`.

Every command has `--json`: one JSON document with stable keys on stdout. Errors are one line on stderr,
`eventseam: cause. fix.`, and no traceback unless `--debug` is given. Passwords are masked; payloads are printed by
`dlq show` alone. Commands that read the database take `--database URL`, or `EVENTSEAM_DATABASE` from the environment;
they create nothing and change no schema.

## Exit codes

| code | meaning |
|---:|---|
"""


def page(commands: Sequence[Command] = COMMANDS) -> str:
    """The whole page."""
    codes = "\n".join(f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items())
    return HEAD + codes + "\n" + "".join(_section(command) for command in commands)


def _section(command: Command) -> str:
    """One command: what it does, its arguments, its examples, its exit codes."""
    rows = "\n".join(_rows(command))
    codes = ", ".join(str(int(code)) for code in (*command.exits, Exit.BUG, Exit.INTERRUPTED))
    examples = "\n".join(command.examples)
    return (
        f"\n## eventseam {command.name}\n\n{command.details}\n\n| argument | meaning |\n|---|---|\n{rows}\n\n"
        f"```text\n{examples}\n```\n\nExit codes: {codes}.\n"
    )


def _rows(command: Command) -> Iterator[str]:
    """A table row per argument."""
    for action in arguments_of(command):
        words = ", ".join(f"`{_usage(word, action)}`" for word in action.option_strings or [""])
        yield f"| {words} | {_escaped(str(action.help or ''))} |"


def _usage(word: str, action: argparse.Action) -> str:
    """`--limit N`, `--yes`, `ID`: as it is typed."""
    takes_value = action.nargs != 0
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest)
    return " ".join(filter(None, (word, _escaped(str(value)) if takes_value else "")))


def _escaped(text: str) -> str:
    """`text` in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("%%", "%")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(
        prog="python -m eventseam.cli.reference", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("file", type=Path, help="the page")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it is not up to date")
    args = parser.parse_args(argv)
    wanted = page()
    if not args.check:
        args.file.write_text(wanted, encoding="utf-8")
        return Exit.OK
    if args.file.is_file() and args.file.read_text(encoding="utf-8") == wanted:
        return Exit.OK
    print(f"{args.file} is not up to date. Run: python -m eventseam.cli.reference {args.file}", file=sys.stderr)
    return Exit.FOUND


if __name__ == "__main__":
    sys.exit(main())
