"""What a command's end means: one exit code per kind of end, and one line of text per error.

Refuses to show a traceback (`--debug` does that) and to let a password or a control character through to the terminal.
"""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import cast

from eventseam.cli.render import printable
from eventseam.errors import ContractError, EventseamError, MissingExtraError, SettingsError, StorageError, WiringError
from eventseam.ports.probe import without_secrets


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FOUND = 1
    USAGE = 2
    WIRING = 3
    STORAGE = 4
    BUG = 70
    INTERRUPTED = 130


MEANINGS = MappingProxyType(
    {
        Exit.OK: "done as asked",
        Exit.FOUND: "nothing matched, or the problem that was asked about was found",
        Exit.USAGE: "the command line is wrong",
        Exit.WIRING: "a setting is wrong, or the app cannot be loaded or is wired wrongly",
        Exit.STORAGE: "the database cannot be used: missing, locked, full, or from a newer version",
        Exit.BUG: "an error that should not have come this far; --debug shows where",
        Exit.INTERRUPTED: "stopped by Ctrl-C",
    }
)
"""Each exit code in words, for `--help` and the reference."""


class NothingMatched(EventseamError):  # noqa: N818 - an outcome with an exit code of its own
    """No row is what the command asked for."""


class UsageError(EventseamError):
    """Options that do not go together; each of them alone is fine."""


def first_of(error: BaseException) -> BaseException:
    """The first error of a group that tasks raised together."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return first_of(group.exceptions[0])


def exit_for(error: BaseException) -> Exit:
    """The exit code that an error ends the command with."""
    match first_of(error):
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case UsageError():
            return Exit.USAGE
        case SettingsError() | WiringError() | MissingExtraError() | ContractError():
            return Exit.WIRING
        case StorageError():
            return Exit.STORAGE
        case EventseamError():
            return Exit.FOUND
        case _:
            return Exit.BUG


def complaint(error: BaseException) -> str:
    """The one line that stderr gets: cause and fix, on a single line, without control characters."""
    error = first_of(error)
    said = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        said = "interrupted."
    elif not isinstance(error, EventseamError):
        said = f"{type(error).__name__}: {said}".rstrip(": ") + ". Run it again with --debug to see where."
    return f"eventseam: {printable(without_secrets(said))}"
