"""Named SQL: statements and migrations are read from `.sql` files, so that a reviewer reads SQL and not string pieces.

A statements file holds blocks that begin with `-- name: purpose`. A migrations folder holds `NNNN_name.sql` files.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from eventseam.errors import EventseamError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = re.compile(r"^-- ([a-z][a-z0-9_]*): (.+)$", re.MULTILINE)


class Migration(NamedTuple):
    """One step of the schema: its number, its name and its script."""

    number: int
    name: str
    script: str


def parse_statements(text: str) -> dict[str, str]:
    """The blocks of one statements file by name. Raises EventseamError for a name that stands twice."""
    pieces = _HEADER.split(text)
    found: dict[str, str] = {}
    for name, sql in zip(pieces[1::3], pieces[3::3], strict=True):
        if name in found:
            message = f"the statement {name!r} is defined twice"
            raise EventseamError(message)
        found[name] = sql.strip().rstrip(";")
    return found


def statements(dialect: str) -> Mapping[str, str]:
    """All named statements of a dialect."""
    found: dict[str, str] = {}
    folder = resources.files("eventseam.storage") / "statements" / dialect
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        found.update(parse_statements(file.read_text(encoding="utf-8")))
    return found


def migrations(dialect: str) -> tuple[Migration, ...]:
    """The numbered migrations of a dialect, in order."""
    folder = resources.files("eventseam.storage") / "migrations" / dialect
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(Migration(int(f.name[:4]), f.name[5:-4], f.read_text(encoding="utf-8")) for f in files)
