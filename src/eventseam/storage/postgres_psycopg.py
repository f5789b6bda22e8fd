"""SQL on a blocking connection of psycopg, with the meaning that it has on asyncpg: `$n` parameters, the same values.

Values are sent as text without a type, so that the server takes them for what the statement says. JSON is read as text.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from psycopg import RawCursor
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader

from eventseam.storage.postgres_binding import check_recorded, checked, count_of, named_statements
from eventseam.storage.postgres_values import JSON_OIDS, as_json, as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import psycopg

    from eventseam.ports.sql import Opening, Row

_PREPARE_AFTER: Final = 2
_PREPARED_MAX: Final = 256


class NamedRow(tuple[Any, ...]):
    """A row of a user's SQL, read by position or by column name; each set of columns has a class of its own."""

    __slots__ = ()
    names: tuple[str, ...] = ()

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - a column can hold any type
        """The value of a column. Raises KeyError or IndexError."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        try:
            return super().__getitem__(self.names.index(key))
        except ValueError:
            raise KeyError(key) from None

    def keys(self) -> Sequence[str]:
        """The column names, in order."""
        return self.names


@lru_cache(maxsize=512)
def _row_class(names: tuple[str, ...]) -> type[NamedRow]:
    return type("NamedRow", (NamedRow,), {"__slots__": (), "names": names})


def _named_rows(cursor: Any) -> Callable[[Sequence[Any]], Any]:  # noqa: ANN401 - a row factory of psycopg
    return _row_class(tuple(column.name for column in cursor.description or ()))


@cache
def _named() -> Mapping[str, bytes]:
    """Our own statements; psycopg would encode a text each time."""
    return {name: text.encode() for name, text in named_statements().items()}


@lru_cache(maxsize=512)
def _checked(statement: str) -> bytes:
    return checked(statement).encode()


class PsycopgSql:
    """The Sql port over one connection; its methods never suspend. The caller begins and ends the transaction.

    What is appended to the journal goes out with the next statement, which nearly always is COMMIT: one trip less.
    """

    __slots__ = ("_held", "_json_at", "_named", "_ours", "_theirs", "is_ours", "raw")

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        """Use `raw`, in autocommit, as it is. Cursors are kept: making one costs as much as a small statement."""
        raw.prepare_threshold = _PREPARE_AFTER
        raw.prepared_max = _PREPARED_MAX
        self.raw = raw
        self.is_ours = True
        """Whether the last statement was one of ours."""
        self._named = _named()
        self._ours = RawCursor(raw, row_factory=tuple_row)
        self._theirs: RawCursor[Any] = RawCursor(raw, row_factory=_named_rows)
        for name in ("json", "jsonb"):
            self._theirs.adapters.register_loader(name, TextLoader)
        self._json_at: dict[str, frozenset[int]] = {}
        self._held: Sequence[object] = ()

    def begin(self, text: bytes, opening: Opening | None) -> None:
        """Run `text`, which has no parameters, and the opening statement in one trip."""
        self._held = ()
        self.is_ours = True
        if opening is None:
            self._ours.execute(text)
            return
        with self.raw.pipeline():
            self._ours.execute(text)
            cursor = RawCursor(self.raw, row_factory=tuple_row)
            cursor.execute(self._named[opening.statement], [as_text(value) for value in opening.args])
        opening.changed = count_of(cursor.statusmessage)

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Sql."""
        cursor = self._run(statement, args)
        return cursor.fetchall() if cursor.description else ()

    async def changed(self, statement: str, *args: object) -> int:
        """See ports.sql.Sql."""
        return count_of(self._run(statement, args).statusmessage)

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        if not args:
            return
        check_recorded(statement)
        self._send_held()
        text = self._named.get(statement)
        self.is_ours = text is not None
        if statement == "append" and len(args) == 1:
            self._held = [as_text(value) for value in args[0]]
        elif text is None:
            self._theirs.executemany(_checked(statement), [self._bound(statement, values) for values in args])
        elif b"unnest(" in text:
            self._run(statement, tuple(list(column) for column in zip(*args, strict=True)))
        else:
            self._ours.executemany(text, [[as_text(value) for value in values] for values in args])

    def commit(self) -> str | None:
        """Send what is held back, and COMMIT, in one trip; the command tag of the COMMIT."""
        self.is_ours = bool(self._held)
        if not self._held:
            return self._ours.execute(b"COMMIT").statusmessage
        with self.raw.pipeline():
            self._send_held()
            cursor = RawCursor(self.raw, row_factory=tuple_row)
            cursor.execute(b"COMMIT")
        return cursor.statusmessage

    def _send_held(self) -> None:
        if self._held:
            held, self._held = self._held, ()
            self.is_ours = True
            self._ours.execute(self._named["append_one"], held)

    def _run(self, statement: str, args: Sequence[object]) -> RawCursor[Any]:
        self._send_held()
        text = self._named.get(statement)
        self.is_ours = text is not None
        if text is not None:
            return self._ours.execute(text, [as_text(value) for value in args])
        if not args:  # prepared, or else libpq takes several statements at once, a COMMIT among them
            return self._theirs.execute(_checked(statement), prepare=True)
        return self._theirs.execute(_checked(statement), self._bound(statement, args))

    def _bound(self, statement: str, args: Iterable[object]) -> list[object]:
        """Arguments as text; a list is an array unless its parameter is JSON, which only the server knows."""
        values = list(args)
        if any(isinstance(value, list) for value in values):
            json_at = self._json_at.get(statement)
            if json_at is None:
                json_at = self._json_at[statement] = self._ask_json_at(statement)
            values = [as_json(value) if at in json_at else value for at, value in enumerate(values)]
        return [as_text(value) for value in values]

    def _ask_json_at(self, statement: str) -> frozenset[int]:
        """Which parameters of a statement are JSON."""
        self._ours.execute(b"PREPARE eventseam_probe AS " + _checked(statement))
        self._ours.execute(
            "SELECT n - 1, each::oid FROM pg_prepared_statements, "
            "unnest(parameter_types) WITH ORDINALITY AS found (each, n) WHERE name = 'eventseam_probe'"
        )
        rows = self._ours.fetchall()
        self._ours.execute("DEALLOCATE eventseam_probe")
        return frozenset(at for at, oid in rows if oid in JSON_OIDS)
