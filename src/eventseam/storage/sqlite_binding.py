"""SQL on a SQLite connection: named statements, a user's `$n` parameters, values as SQLite keeps them, wide INSERTs.

Refuses a statement that would end the transaction under its owner.
"""

from __future__ import annotations

import enum
import re
import sqlite3
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from eventseam.errors import EventseamError
from eventseam.storage.catalog import statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eventseam.ports.sql import Row

_ENDS_TRANSACTION = re.compile(
    r"(?:[\s;\ufeff]|--[^\n]*\n|/\*.*?\*/)*(?:COMMIT|END|ROLLBACK(?!\s+(?:TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
_NATIVE = frozenset({str, int, float, bytes, type(None)})
_TEXTS: Mapping[type, Callable[[Any], str]] = MappingProxyType(
    {Decimal: str, UUID: str, datetime: datetime.isoformat, date: date.isoformat}
)
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\d+)""", re.DOTALL)
_PLAIN_INSERT = re.compile(r"(?is)^(\s*INSERT\s+INTO\s+[\w.\"]+\s*\([\w\s,\"]+\)\s*VALUES)\s*(\([\s,?\d]+\))\s*;?\s*$")
_NUMBER = re.compile(r"\?(\d+)")
_ROWS = 25
_PARAMETERS_MAX = 999


def stored(value: object) -> object:
    """A value as SQLite keeps it: exact text for Decimal, UUID, dates and times; the value of an enum."""
    text = _TEXTS.get(type(value))
    if text is not None:
        return text(value)
    if isinstance(value, enum.Enum):
        return stored(value.value)
    for known, as_text in _TEXTS.items():  # a subclass
        if isinstance(value, known):
            return as_text(value)
    return value


class SqliteSql:
    """The Sql port over one connection; its methods never suspend."""

    __slots__ = ("_connection", "_named")

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `connection` as it is: the caller begins and ends the transaction."""
        self._connection = connection
        self._named = _named_statements()

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's own connection."""
        return self._connection

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Sql. Text that is no UTF-8 (a foreign program's) is read with its bytes escaped."""
        try:
            return self._run(statement, args).fetchall()
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise
        self._connection.text_factory = _escaped
        try:
            return self._run(statement, args).fetchall()
        finally:
            self._connection.text_factory = str

    async def changed(self, statement: str, *args: object) -> int:
        """See ports.sql.Sql."""
        return self._run(statement, args).rowcount

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        text = self._named.get(statement)
        if text is None:
            text, args = _numbered(statement), [_bound(values) for values in args]
        wide = _wide(text) if len(args) >= _ROWS and len({len(values) for values in args}) == 1 else None
        whole = len(args) - len(args) % _ROWS if wide is not None else 0
        for start in range(0, whole, _ROWS):
            self._connection.execute(wide or text, list(chain.from_iterable(args[start : start + _ROWS])))
        if whole < len(args):
            self._connection.executemany(text, args[whole:])

    def interrupt(self) -> None:
        """Make the statement that runs now, in whatever thread, fail soon."""
        self._connection.interrupt()

    def _run(self, statement: str, args: tuple[object, ...]) -> sqlite3.Cursor:
        """Our own statements give tuples, twice as fast; a user's SQL gives rows that know their columns' names."""
        text = self._named.get(statement)
        cursor = self._connection.cursor()
        try:
            if text is not None:
                return cursor.execute(text, [_array(arg) for arg in args])
            cursor.row_factory = sqlite3.Row
            return cursor.execute(_numbered(statement), _bound(args))
        except BaseException:
            # A traceback may keep it. Whoever drops that later, in another thread, would wait for the next statement.
            cursor.close()
            raise


def _array(value: object) -> object:
    """An array as the JSON text that named statements read with json_each; anything else as it is."""
    return msgspec.json.encode(value).decode() if isinstance(value, list) else value


@cache
def _named_statements() -> dict[str, str]:
    """Our own statements."""
    return {name: _numbered(text) for name, text in statements("sqlite").items()}


def _escaped(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=512)
def _numbered(statement: str) -> str:
    """A statement with `?n` for each `$n` outside quotes and comments: such parameters bind from a tuple, by number."""
    if " " not in statement.strip():
        message = f"{statement!r} is neither a named statement nor SQL"
        raise EventseamError(message)
    if _ENDS_TRANSACTION.match(statement):
        message = f"{statement!r}: the transaction is not the handler's to end. Return to commit it, raise to undo it"
        raise EventseamError(message)
    return _TOKEN.sub(lambda token: f"?{token[1]}" if token[1] else token[0], statement)


@lru_cache(maxsize=512)
def _wide(statement: str) -> str | None:
    """A plain `INSERT … VALUES (?1, …, ?n)` for many rows at once, or None for any other statement.

    The same rows in the same order, and all or none of them, which a batch is anyway: a fifth cheaper than one by one.
    """
    plain = _PLAIN_INSERT.match(statement)
    if plain is None:
        return None
    numbers = [int(number) for number in _NUMBER.findall(plain[2])]
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) * _ROWS > _PARAMETERS_MAX:
        return None
    row = f"({', '.join('?' * len(numbers))})"
    return f"{plain[1]} {', '.join([row] * _ROWS)}"


def _bound(args: Sequence[object]) -> Sequence[object]:
    for arg in args:
        if type(arg) not in _NATIVE:
            return [value if type(value) in _NATIVE else stored(value) for value in args]
    return args
