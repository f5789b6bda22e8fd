"""SQL on a connection of asyncpg: named statements, users' SQL, values made to fit, wide INSERTs.

Statements are prepared once per connection. Refuses a statement that would end the transaction under its owner.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import OrderedDict
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import asyncpg

from eventseam.errors import EventseamError, StorageUnavailable
from eventseam.storage.catalog import statements
from eventseam.storage.postgres_copy import JOURNAL, ROWS_MIN, Target, journal_records, target_of
from eventseam.storage.postgres_errors import is_out_of_reach, is_trouble, out_of_reach, told
from eventseam.storage.postgres_rights import denied
from eventseam.storage.postgres_simple import execute
from eventseam.storage.postgres_values import WIDE_OIDS, Fit, fit, fit_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asyncpg.prepared_stmt import PreparedStatement

    from eventseam.ports.sql import Opening, Row

NO_BEGIN: Final = ""
"""What `Connection.command` makes no trip for: a statement that is its own transaction comes next."""

_BEFORE: Final = r"(?:[\s;\ufeff]|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_ENDS_TRANSACTION: Final = re.compile(
    _BEFORE + r"(?:COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+(?:(?:WORK|TRANSACTION)\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
_OUTLIVES_TRANSACTION: Final = re.compile(
    _BEFORE + r"(?:SET(?!\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)|RESET)\b", re.IGNORECASE | re.DOTALL
)
_EMPTIES_SESSION: Final = re.compile(_BEFORE + r"(?:DEALLOCATE|DISCARD)\b", re.IGNORECASE)
_CONCERNS_OTHERS: Final = re.compile(_BEFORE + r"(?:SAVEPOINT|RELEASE|ROLLBACK|SET)\b", re.IGNORECASE | re.DOTALL)
_PLAIN_INSERT: Final = re.compile(
    r"(?is)^\s*(INSERT\s+INTO\s+([\w.\"]+)\s*\(([\w\s,\"]+)\))\s*VALUES\s*\(([\s,$\d]+)\)\s*"
    r"(ON\s+CONFLICT\s*(?:\([\w\s,\"]+\)\s*)?DO\s+NOTHING)?\s*;?\s*$"
)
_NUMBER: Final = re.compile(r"\$(\d+)")
_CHANGES: Final = ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY")
_KEPT_MAX: Final = 256
_WIDE_ROWS_MIN: Final = 4
_ROLLBACK_SECONDS: Final = 2.0


class NamedRecord(asyncpg.Record):
    """A row of a user's SQL, with its column names as a sequence."""

    def keys(self) -> Sequence[str]:  # type: ignore[override]
        """The column names, in order."""
        return tuple(super().keys())


@cache
def named_statements() -> Mapping[str, str]:
    """Our own statements."""
    return statements("postgresql")


@lru_cache(maxsize=512)
def checked(statement: str) -> str:
    """A user's SQL as it is. Raises EventseamError for what is none, or what would end or outlive the transaction."""
    if "\0" in statement:
        raise EventseamError(f"{statement!r} has a NUL character in it, where PostgreSQL ends the text: take it out")
    if _ENDS_TRANSACTION.match(statement):
        raise EventseamError(
            f"{statement!r}: the transaction is not the handler's to end. Return to commit it, raise to undo it"
        )
    if _EMPTIES_SESSION.match(statement):
        raise EventseamError(
            f"{statement!r} would take away what others have prepared on this connection: leave it out"
        )
    if " " not in statement.strip():
        raise EventseamError(f"{statement!r} is neither a named statement nor SQL")
    if _OUTLIVES_TRANSACTION.match(statement):
        raise EventseamError(f"{statement!r} would hold for whoever uses the connection next: write SET LOCAL")
    return statement


@lru_cache(maxsize=512)
def check_recorded(statement: str) -> None:
    """Raise EventseamError for savepoints and settings among recorded statements: they would concern others' too."""
    if _CONCERNS_OTHERS.match(statement):
        raise EventseamError(
            f"{statement!r} would concern the other messages too with which a recorded statement shares its "
            "transaction. Use on_tx or handle_tx, which have a transaction of their own"
        )


def count_of(status: str | None) -> int:
    """The rows that a statement inserted, updated or deleted, from its command tag (`INSERT 0 3`)."""
    command, _, rest = (status or "").partition(" ")
    count = rest.rpartition(" ")[2]
    return int(count) if command in _CHANGES and count.isdecimal() else 0


class PlainInsert(NamedTuple):
    """The pieces of an `INSERT INTO table (columns) VALUES ($1, …, $n)`, perhaps `ON CONFLICT DO NOTHING`."""

    head: str
    table: str
    columns: str
    tail: str

    def wide(self, oids: Sequence[int], names: Sequence[str]) -> str | None:
        """The same for many rows at once, a column of values for each parameter; None if a type has no such column.

        The same rows in the same order, and all or none of them, which a batch is anyway.
        """
        if not WIDE_OIDS.issuperset(oids):
            return None
        values = ", ".join(f'${n}::pg_catalog."{name}"[]' for n, name in enumerate(names, 1))
        return f"{self.head} SELECT * FROM unnest({values}) {self.tail}"  # noqa: S608 - pieces of the user's statement


def plain_insert(text: str, parameters: int) -> PlainInsert | None:
    """The pieces of a plain INSERT of one row, each parameter once and in order; None for any other statement."""
    found = _PLAIN_INSERT.match(text)
    if found is None or [int(number) for number in _NUMBER.findall(found[4])] != list(range(1, parameters + 1)):
        return None
    return PlainInsert(found[1], found[2], found[3], found[5] or "")


class Prepared:
    """A statement on one connection, how its arguments are made to fit, and how it takes many rows at once."""

    __slots__ = ("by_columns", "fits", "insert", "run", "statement", "target", "text", "wide")

    def __init__(self, text: str, statement: PreparedStatement[Any], *, is_named: bool) -> None:
        """Ours gets arguments of the right types already."""
        types = () if is_named else statement.get_parameters()
        self.text = text
        self.statement = statement
        self.run: Callable[..., Awaitable[list[Any]]] = statement.fetch
        self.fits: tuple[Fit, ...] = tuple(fit_of(each.oid) for each in types)
        self.by_columns = is_named and "unnest(" in text
        self.insert = plain_insert(text, len(types)) if types else None
        self.wide = self.insert and self.insert.wide([each.oid for each in types], [each.name for each in types])
        self.target: Target | Literal["unknown"] | None = "unknown" if self.insert and not self.insert.tail else None

    async def copies_to(self, raw: asyncpg.Connection[Any]) -> Target | None:
        """Where a COPY may do what this INSERT does, or None."""
        if self.target == "unknown" and self.insert is not None:
            self.target = await target_of(raw, self.insert.table, self.insert.columns)
        return self.target if isinstance(self.target, Target) else None


class Connection:
    """A connection of asyncpg and the statements prepared on it. One task at a time."""

    __slots__ = ("_kept", "monotonic", "place", "raw", "since")

    def __init__(self, raw: asyncpg.Connection[Any], place: str, monotonic: Callable[[], float]) -> None:
        """Use `raw`; `place` names the database in errors. `since` is when its statement was sent, for a watch."""
        self.raw = raw
        self.place = place
        self.monotonic = monotonic
        self.since = math.inf
        self._kept: OrderedDict[str, Prepared] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known."""
        return not self.raw.is_closed()

    async def prepared(self, statement: str) -> Prepared:
        """A statement, prepared now unless it was before."""
        kept = self._kept
        found = kept.get(statement)
        if found is None:
            text = named_statements().get(statement)
            if text is None:
                made = Prepared(
                    statement, await self.raw.prepare(checked(statement), record_class=NamedRecord), is_named=False
                )
            else:
                made = Prepared(text, await self.raw.prepare(text), is_named=True)
            kept[statement] = found = made
            if len(kept) > _KEPT_MAX:
                kept.popitem(last=False)
        elif len(kept) == _KEPT_MAX:
            kept.move_to_end(statement)
        return found

    def forget(self) -> None:
        """Prepare everything anew: the schema has changed."""
        self._kept.clear()

    async def command(self, text: str, timeout_seconds: float | None = None, statement: str = "") -> str:
        """Run a statement, or several, without parameters; the last command tag. Raises StorageUnavailable.

        `statement` is the one of ours that is in it.
        """
        if text == NO_BEGIN:
            return text
        self.since = self.monotonic()
        try:
            return await self.raw.execute(text, timeout=timeout_seconds)
        except Exception as error:
            self._raise_trouble(error, statement)
            raise
        finally:
            self.since = math.inf

    async def begin(self, text: str, opening: Opening | None = None) -> None:
        """Run `text` and the opening statement in one trip. Raises StorageUnavailable, or what the statement raises."""
        if opening is None:
            await self.command(text)
            return
        name = await self.name_of(opening.statement)
        opening.changed = count_of(
            await self.command(f"{text}; {execute(name, opening.args)}", statement=opening.statement)
        )

    async def name_of(self, statement: str) -> str:
        """What a statement is called on this connection. Raises StorageUnavailable."""
        try:
            return (await self.prepared(statement)).statement.get_name()
        except Exception as error:
            self._raise_trouble(error, statement)
            raise

    async def roll_back(self) -> None:
        """Undo what has begun; close the connection if it does not answer soon."""
        if self.is_open and self.raw.is_in_transaction():
            try:
                await self.raw.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS)
            except BaseException:  # noqa: BLE001 - whatever keeps it from answering, also a second cancellation
                self.raw.terminate()

    def _raise_trouble(self, error: Exception, statement: str = "") -> None:
        """Raise StorageUnavailable if that is what an error means."""
        cause = self.explained(error, statement)
        if cause is not error:
            raise cause from error
        if is_trouble(error):
            raise StorageUnavailable(told(self.place, error)) from error

    def explained(self, error: BaseException, statement: str = "") -> BaseException:
        """StorageUnavailable if the connection is lost, after which it is closed, or if `statement` is ours and what it
        needs is out of reach; else the error itself.
        """
        if isinstance(error, TimeoutError):
            self.raw.terminate()
            return StorageUnavailable(f"{self.place}: no answer in time. Check the server and the network.")
        if isinstance(error, OSError | asyncpg.InternalClientError) or self.raw.is_closed():
            self.raw.terminate()
            return StorageUnavailable(told(self.place, error))
        if is_out_of_reach(error) and statement in named_statements():
            said = denied(self.raw.get_settings().session_authorization, error)
            return out_of_reach(f"{self.place}: {said}" if said else told(self.place, error))
        return error


class AsyncpgSql:
    """The Sql port over one connection. The caller begins the transaction, and ends it by what `ending` says.

    One message that is appended to the journal goes out with the next statement, nearly always COMMIT: one trip
    less.
    """

    __slots__ = ("_connection", "_held", "_prepared")

    def __init__(self, connection: Connection) -> None:
        """Use `connection` as it is."""
        self._connection = connection
        self._prepared = connection.prepared
        self._held = ""

    @property
    def raw(self) -> asyncpg.Connection[Any]:
        """The driver's own connection."""
        return self._connection.raw

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Sql."""
        return (await self._run(statement, args))[1]

    async def changed(self, statement: str, *args: object) -> int:
        """See ports.sql.Sql."""
        prepared, _ = await self._run(statement, args)
        return count_of(prepared.statement.get_statusmsg())

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        if not args:
            return
        check_recorded(statement)
        if self._held:
            await self._send_held()
        if statement == "append" and len(args) == 1 and await self._holds(args[0]):
            return
        self._connection.since = self._connection.monotonic()
        try:
            await self._many(await self._prepared(statement), args)
        except Exception as error:
            if (cause := self._connection.explained(error, statement)) is error:
                raise
            raise cause from error
        finally:
            self._connection.since = math.inf

    async def ending(self) -> str:
        """What ends the transaction: COMMIT, and before it what is held back."""
        return f"{self._held}COMMIT"

    async def _run(self, statement: str, args: tuple[object, ...]) -> tuple[Prepared, list[Any]]:
        if self._held:
            await self._send_held()
        self._connection.since = self._connection.monotonic()
        try:
            prepared = await self._prepared(statement)
            return prepared, await prepared.run(*(fit(prepared.fits, args) if prepared.fits else args))
        except Exception as error:
            if (cause := self._connection.explained(error, statement)) is error:
                raise
            raise cause from error
        finally:
            self._connection.since = math.inf

    async def _holds(self, row: Sequence[object]) -> bool:
        """Whether a message could be held back; one with a value that has no literal goes out at once."""
        name = await self._connection.name_of("append_one")
        try:
            self._held = f"{execute(name, row)}; "
        except ValueError:
            return False
        return True

    async def _send_held(self) -> None:
        held, self._held = self._held, ""
        await self._connection.command(held, statement="append")

    async def _many(self, prepared: Prepared, args: Sequence[Sequence[object]]) -> None:
        if prepared.by_columns:
            if prepared.text is named_statements()["append"] and len(args) >= ROWS_MIN:
                await JOURNAL.copy(self.raw, journal_records(args))
            else:
                await prepared.run(*(list(column) for column in zip(*args, strict=True)))
            return
        if not prepared.fits:
            await prepared.statement.executemany(args)
            return
        columns = _columns(prepared, args)
        target = await prepared.copies_to(self.raw) if len(args) >= ROWS_MIN else None
        if target is not None:
            await target.copy(self.raw, zip(*columns, strict=True))
        elif prepared.wide is not None and len(args) >= _WIDE_ROWS_MIN:
            await (await self._prepared(prepared.wide)).run(*columns)
        else:
            await prepared.statement.executemany(list(zip(*columns, strict=True)))


def _columns(prepared: Prepared, rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Rows as columns of values that fit. Raises EventseamError for a row of another length."""
    wrong = next((row for row in rows if len(row) != len(prepared.fits)), None)
    if wrong is not None:
        raise EventseamError(f"{prepared.text!r} needs {len(prepared.fits)} values a row, and {len(wrong)} were given")
    return [each.column(list(column)) for each, column in zip(prepared.fits, zip(*rows, strict=True), strict=True)]


class SharedSql(AsyncpgSql):
    """The same for a handler, whose tasks may use it at once: one statement after another."""

    __slots__ = ("_gate",)

    def __init__(self, connection: Connection) -> None:
        """Use `connection` as it is."""
        super().__init__(connection)
        self._gate = asyncio.Lock()

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        async with self._gate:
            await super().many(statement, args)

    async def ending(self) -> str:
        """See AsyncpgSql."""
        async with self._gate:
            return await super().ending()

    async def _run(self, statement: str, args: tuple[object, ...]) -> tuple[Prepared, list[Any]]:
        async with self._gate:
            return await super()._run(statement, args)
