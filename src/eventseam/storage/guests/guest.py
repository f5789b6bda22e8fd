"""What all connections have in common: named statements in their driver's style, and errors in the user's words.

A guest appends and counts, on a connection that is not ours: it never commits, never rolls back, never changes a
setting of the connection, and leaves rows, cursors and adapters of the user's as they are.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from eventseam.errors import ContractError, EventseamError, NotInTransaction, WiringError
from eventseam.ports.sql import Sql
from eventseam.storage.catalog import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eventseam.ports.sql import Row

Style = Literal["dollar", "pyformat", "numbered"]
"""How a driver wants parameters: `$1` from a list, `%(p1)s` from a dict, `?1` from a list."""

_PARAMETER = re.compile(r"\$(\d+)")
_NO_TABLE, _FAILED, _READ_ONLY, _UNTRANSLATABLE = "42P01", "25P02", "25006", "22P05"


@dataclass(frozen=True, slots=True)
class Guest:
    """A user's connection.

    `check` raises NotInTransaction unless an append now would share its fate with the user's own writes; `waits` tells
    whether statements must be awaited; `place` names the database, so that counts of one are not taken for another's.
    """

    sql: Sql
    check: Callable[[], Awaitable[None]]
    place: Callable[[], str]
    waits: bool = False


class GuestSql:
    """The Sql port over `execute`, which runs one statement in the driver's style. Knows the named statements only."""

    __slots__ = ("_execute", "_named", "_on_postgresql", "_style")

    def __init__(
        self, dialect: str, style: Style, execute: Callable[[str, Any], Awaitable[Sequence[Sequence[Any]]]]
    ) -> None:
        """Run statements of `dialect` by `execute(text, parameters)`."""
        self._named = named(dialect, style)
        self._style = style
        self._on_postgresql = dialect == "postgresql"
        self._execute = execute

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """Run one named statement; its rows, which are read by position."""
        values = args if self._on_postgresql else [_plain(arg) for arg in args]
        by_name = self._style == "pyformat"
        parameters = {f"p{n}": value for n, value in enumerate(values, 1)} if by_name else values
        found: Any = await self._execute(self._named[statement], parameters)
        rows: Sequence[Row] = found
        return rows

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """Run one named statement once per argument list; on PostgreSQL all lists at once, as columns."""
        if self._on_postgresql:
            await self.rows(statement, *(list(column) for column in zip(*args, strict=True)))
            return
        for each in args:
            await self.rows(statement, *each)

    async def changed(self, statement: str, *args: object) -> int:
        """Raise EventseamError: on a user's connection nothing of ours is changed, only appended. The port has it."""
        message = f"{statement!r} with {len(args)} parameters: a guest on a user's connection only appends"
        raise EventseamError(message)


@cache
def named(dialect: str, style: Style) -> Mapping[str, str]:
    """The named statements of a dialect with their parameters in a driver's style."""
    return {name: _styled(text, style) for name, text in statements(dialect).items()}


def _styled(text: str, style: Style) -> str:
    if style == "dollar":
        return text
    if style == "numbered":
        return _PARAMETER.sub(r"?\1", text)
    return _PARAMETER.sub(r"%(p\1)s", text.replace("%", "%%"))


def _plain(value: object) -> object:
    """A list as the JSON text that SQLite's statements read."""
    return msgspec.json.encode(value).decode() if isinstance(value, list) else value


def explained(error: BaseException) -> EventseamError | None:
    """What an error of the user's connection means for publishing; None where its own words are the best."""
    for each in _chain(error):
        state = getattr(each, "sqlstate", None) or getattr(each, "pgcode", None)
        if state == _NO_TABLE or (isinstance(each, sqlite3.OperationalError) and "no such table" in str(each)):
            return WiringError(
                "this connection sees no journal yet. Publish into the database of EVENTSEAM_DATABASE, after an app "
                "was started on it once, with a search_path in which the journal's schema is"
            )
        if state == _READ_ONLY:
            return NotInTransaction("this transaction only reads: nothing can be published in it. Begin it READ WRITE")
        if isinstance(each, UnicodeEncodeError) or state == _UNTRANSLATABLE:
            return ContractError(
                "this connection's client_encoding cannot hold a text of the message. Open it with client_encoding=UTF8"
            )
        if state == _FAILED:
            return NotInTransaction(FAILED)
        if isinstance(each, sqlite3.OperationalError) and _is_busy(each):
            return NotInTransaction(
                "this transaction began deferred and read before it wrote, and somebody wrote meanwhile: SQLite cannot "
                'let it write. Begin it with connection.execute("BEGIN IMMEDIATE")'
            )
    return None


FAILED = (
    "a statement of this transaction has failed before, so that nothing of it can be committed any more. Roll it back "
    "(or to a savepoint), write again, then publish"
)
"""What NotInTransaction says in a transaction that PostgreSQL has given up."""


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what the layers above the driver have wrapped."""
    found: BaseException | None = error
    while found is not None:
        yield found
        original = getattr(found, "orig", None)  # SQLAlchemy's; the others chain by `raise … from`
        found = original if isinstance(original, BaseException) else found.__cause__
