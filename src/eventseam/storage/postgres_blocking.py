"""Handlers in threads, on psycopg connections: lent for one transaction, and taken away from a body that hangs."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from eventseam.errors import EventseamError, OutcomeUnknown, StorageError, StorageUnavailable
from eventseam.storage.postgres_binding import by_columns, plain, text_of
from eventseam.storage.postgres_connect import PostgresOptions, is_trouble_state, refuse_unfit, told
from eventseam.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventseam.clock import Seams
    from eventseam.ports.sql import Row, Sql

T = TypeVar("T")
Connection = psycopg.Connection[Any]


class NamedRow(tuple[Any, ...]):  # noqa: SLOT001 - each result makes a class of its own with its names
    """A row that is read by position or by column name."""

    names: tuple[str, ...] = ()

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - a column can hold any type
        """The value of a column."""
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)

    def __iter__(self) -> Iterator[Any]:
        """The values, in order."""
        return super().__iter__()

    def keys(self) -> Sequence[str]:
        """The column names, in order."""
        return self.names


def named_rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], NamedRow]:
    """A row factory: one class per result, so that a row costs a tuple."""
    names = tuple(column.name for column in cursor.description or ())
    return type("Row", (NamedRow,), {"names": names, "__slots__": ()})


class BlockingSql:
    """The Sql port over a lent psycopg connection; its methods never suspend. After `take_away` every use raises."""

    __slots__ = ("_is_taken", "_lock", "raw")

    def __init__(self, connection: Connection) -> None:
        """Lend `connection`: the caller begins and ends the transaction."""
        self.raw = connection
        self._lock = threading.Lock()
        self._is_taken = False

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Sql."""
        with self._lock, self.raw.cursor() as cursor:
            self._refuse()
            cursor.execute(text_of(statement), plain(args))  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    async def changed(self, statement: str, *args: object) -> int:
        """See ports.sql.Sql."""
        with self._lock, self.raw.cursor() as cursor:
            self._refuse()
            return max(0, cursor.execute(text_of(statement), plain(args)).rowcount)  # type: ignore[arg-type]

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """See ports.sql.Sql."""
        with self._lock, self.raw.cursor() as cursor:
            self._refuse()
            if args and statement in by_columns():
                cursor.execute(text_of(statement), [list(column) for column in zip(*args, strict=True)])  # type: ignore[arg-type]
            else:
                cursor.executemany(text_of(statement), [plain(values) for values in args])  # type: ignore[arg-type]

    def take_away(self) -> None:
        """Stop what runs and refuse all further use. Callable from another thread."""
        self._is_taken = True
        try:
            self.raw.cancel_safe(timeout=1.0)
        except psycopg.Error:
            pass
        finally:
            with self._lock:
                self.raw.close()

    def _refuse(self) -> None:
        if self._is_taken:
            raise EventseamError("the transaction is over: its handler ran longer than its timeout_seconds")


class BlockingPool:
    """Connections for bodies in threads."""

    def __init__(self, url: str, options: PostgresOptions) -> None:
        """Open nothing yet."""
        self._url = url
        self._options = options
        self._threads = Threads("eventseam-tx", options.transactions_max)
        self._helpers = Threads("eventseam-tx-end", 2)
        self._free = asyncio.Semaphore(options.transactions_max)
        self._idle: list[Connection] = []

    async def run(self, body: Callable[[Sql], T], seams: Seams) -> T:
        """Run `body` in a thread within one transaction. Cancelled, it takes the connection away."""
        async with self._free:
            lent: list[BlockingSql] = []
            try:
                return await self._threads.hurry(lambda: self._transact(body, seams, lent))
            except asyncio.CancelledError:
                for sql in lent:
                    await self._helpers.run(sql.take_away)
                raise

    def is_trouble(self, error: BaseException) -> bool:
        """Whether an error of psycopg says that the server, not the statement, is in trouble."""
        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate is None:
            return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return is_trouble_state(error.sqlstate)

    async def close(self) -> None:
        """Close what is idle; what runs closes its own."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self._threads.close()
        self._helpers.close()

    def _transact(self, body: Callable[[Sql], T], seams: Seams, lent: list[BlockingSql]) -> T:
        connection = self._connection()
        sql = BlockingSql(connection)
        lent.append(sql)
        try:
            connection.execute("BEGIN")
            seams.at("begin")
            result = body(sql)
            seams.at("pre-commit")
            _commit(connection)
            seams.at("post-commit")
        except BaseException:
            if not connection.closed:
                try:
                    connection.execute("ROLLBACK")
                except psycopg.Error:
                    connection.close()
            raise
        finally:
            if not connection.closed:
                self._idle.append(connection)
        return result

    def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        options = " ".join(f"-c {name}={value}" for name, value in self._options.session().items())
        already = psycopg.conninfo.conninfo_to_dict(self._url).get("options") or ""
        try:
            connection = Connection.connect(
                self._url,
                autocommit=True,
                connect_timeout=int(self._options.connect_seconds),
                options=f"{already} {options}".strip(),
                cursor_factory=psycopg.RawCursor,
                row_factory=named_rows,
            )
        except psycopg.OperationalError as error:
            raise StorageUnavailable(f"the database cannot be reached: {told(error)}") from error
        try:
            _check(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _check(connection: Connection) -> None:
    row = connection.execute(
        "SELECT pg_is_in_recovery(), pg_backend_pid(), current_setting('server_encoding')"
    ).fetchone()
    is_standby, pid, encoding = row if row is not None else (False, 0, "")
    refuse_unfit(connection.info.server_version // 10_000, encoding, is_pooled=pid != connection.info.backend_pid)
    if is_standby:
        raise StorageUnavailable("the server is a standby. Connect to the primary")


def _commit(connection: Connection) -> None:
    try:
        status = connection.execute("COMMIT").statusmessage
    except psycopg.Error as error:
        if connection.broken or connection.closed:
            raise OutcomeUnknown(f"the commit's reply was lost: {told(error)}") from error
        raise
    if status == "ROLLBACK":
        raise StorageError("a statement of this transaction had failed, and its error was swallowed: nothing was kept")
