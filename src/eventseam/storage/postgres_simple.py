"""Prepared statements of ours as text with literals: a text may hold several commands, and is one trip to the server.

The extended protocol of asyncpg takes one statement a trip; a transaction of one message would make six trips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable


def execute(prepared: str, args: Iterable[object]) -> str:
    """Run a statement that is prepared under a name. Raises TypeError or ValueError as `literal` does."""
    return f"EXECUTE {prepared}({', '.join(literal(each) for each in args)})"


def literal(value: object) -> str:
    """A value as SQL that means the same whatever `standard_conforming_strings` says; a list is an array, not empty.

    Raises ValueError for a NUL, at which the server would stop to read, and TypeError for any other type: this is for
    our own statements.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text of PostgreSQL cannot hold NUL")
        doubled = value.replace("'", "''")
        return f"'{doubled}'" if "\\" not in doubled else "E'" + doubled.replace("\\", "\\\\") + "'"
    if isinstance(value, list) and value:
        values = cast("list[object]", value)
        return f"ARRAY[{','.join(literal(each) for each in values)}]"
    raise TypeError(f"no literal for {value!r:.40}")
