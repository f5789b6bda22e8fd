"""SQL on an asyncpg connection: named statements, a user's own text, arrays in place of many rows.

Refuses a statement that would end the transaction under its owner.
"""

from __future__ import annotations

import enum
import re
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eventseam.errors import EventseamError
from eventseam.storage.catalog import statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from eventseam.ports.sql import Row

_ENDS_TRANSACTION = re.compile(
    r"(?:[\s;\ufeff]|--[^\n]*\n|/\*.*?\*/)*(?:COMMIT|END|ABORT|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)|PREPARE\s+TRANSACTION)\b",
    re.IGNORECASE | re.DOTALL,
)


@cache
def named() -> Mapping[str, str]:
    """Our own statements."""
    return MappingProxyType(dict(statements("postgresql")))


@cache
def by_columns() -> frozenset[str]:
    """The statements that take many rows as columns, in one execution."""
    return frozenset(name for name, text in named().items() if text.startswith("INSERT") and "unnest($1" in text)


def text_of(statement: str) -> str:
    """The SQL of a name, or the user's own. Raises EventseamError for what is neither, or ends the transaction."""
    text = named().get(statement)
    if text is not None:
        return text
    if " " not in statement.strip():
        raise EventseamError(f"{statement!r} is neither a named statement nor SQL")
    if _ENDS_TRANSACTION.match(statement):
        raise EventseamError(
            f"{statement!r}: the transaction is not the handler's to end. Return to commit it, raise to undo it"
        )
    return statement


class PostgresSql:
    """The Sql port over one asyncpg connection: the caller begins and ends the transaction."""

    __slots__ = ("raw",)

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        """Use `connection` as it is."""
        self.raw = connection

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Sql."""
        return await self.raw.fetch(text_of(statement), *plain(args))

    async def changed(self, statement: str, *args: object) -> int:
        """See ports.sql.Sql."""
        return count_of(await self.raw.execute(text_of(statement), *plain(args)))

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        text = text_of(statement)
        if not args:
            return
        if statement in by_columns():
            await self.raw.execute(text, *map(list, zip(*args, strict=True)))
        elif len(args) == 1:
            await self.raw.execute(text, *plain(args[0]))
        else:
            await self.raw.executemany(text, [plain(values) for values in args])


def plain(args: Sequence[object]) -> Sequence[object]:
    """Parameters as drivers take them: the value of an enum."""
    for arg in args:
        if isinstance(arg, enum.Enum):
            return [each.value if isinstance(each, enum.Enum) else each for each in args]
    return args


def count_of(status: str) -> int:
    """The number of rows in a command's status: `UPDATE 3`, `INSERT 0 3`; 0 for a command that has none."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
