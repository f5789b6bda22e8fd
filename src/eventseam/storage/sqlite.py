"""The embedded database: SQLite in WAL mode, one writer at a time, nothing to install.

Every transaction of ours begins IMMEDIATE and waits up to `busy_seconds`; the writer rests after a commit as long as it
held the lock when others write too, so that nobody meets `database is locked`. Handlers never run inside the write
transaction unless they asked for one. Refuses in-memory databases: their connections would not see each other.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Literal, TypeVar

from eventseam.errors import SettingsError, StorageError, StorageUnavailable
from eventseam.ports.sql import Opening, Operation, Row, Sql, run_sync
from eventseam.storage.sqlite_binding import SqliteSql
from eventseam.storage.sqlite_lease import LentSql
from eventseam.storage.sqlite_schema import bring_up_to_date, refuse_a_stranger, run_script
from eventseam.threads import ShortWork, Threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from eventseam.clock import Seams

T = TypeVar("T")

_STEPS_PER_LOOK = 20_000
_TOO_LONG = "a statement ran longer than {:g} s and was stopped, and with it its transaction. Do less in one statement"
_INTERRUPT_AGAIN_SECONDS = 0.01
_SWITCH_AGAIN_SECONDS = 0.01
_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """How the file is opened. `durability="normal"` may lose the last commits at power loss (not at a crash)."""

    durability: Literal["full", "normal"] = "full"
    busy_seconds: float = 5.0
    rest_seconds_min: float = 0.002
    others_seen_seconds: float = 1.0
    transaction_threads: int = 2
    loop_seconds_max: float = 0.25
    statements_seconds_max: float = 30.0


def path_of(url: str) -> str:
    """The file of a `sqlite:///relative.db` or `sqlite:////absolute.db` URL. Raises SettingsError."""
    if not url.startswith("sqlite:///") or not (path := url[len("sqlite:///") :]):
        message = "the URL is no SQLite URL. Write sqlite:///shop.db (beside you) or sqlite:////var/lib/shop.db"
        raise SettingsError(message)
    if path == ":memory:" or "mode=memory" in path:
        message = (
            "an in-memory SQLite database cannot be shared by the engine's connections. Give a file: sqlite:///shop.db"
        )
        raise SettingsError(message)
    return path


class _HoppingSql:
    """The Sql port for a caller on the loop: each statement runs in a thread, and is interrupted when cancelled."""

    __slots__ = ("_sql", "_threads")

    def __init__(self, sql: SqliteSql, threads: Threads) -> None:
        self._sql = sql
        self._threads = threads

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's own connection. Use it in steps given to `run` only."""
        return self._sql.raw

    async def run(self, step: Callable[[], T]) -> T:
        """Run a step that uses the connection in its thread."""
        return await self._threads.run(step, self._sql.interrupt)

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        return await self._threads.run(lambda: run_sync(self._sql.rows(statement, *args)), self._sql.interrupt)

    async def changed(self, statement: str, *args: object) -> int:
        return await self._threads.run(lambda: run_sync(self._sql.changed(statement, *args)), self._sql.interrupt)

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        await self._threads.run(lambda: run_sync(self._sql.many(statement, args)), self._sql.interrupt)


class SqliteStore:
    """A SQLite file: a writer, a reader, and a connection per `Tx` handler that runs. See ports.sql.Store."""

    dialect = "sqlite"
    slots = 1
    transactions_max = 1
    generation = 0

    def __init__(self, path: str, seams: Seams, options: SqliteOptions | None = None) -> None:
        """Name the file; it is opened with the first operation."""
        self._path = path
        self._seams = seams
        self._options = options or SqliteOptions()
        self._gate = asyncio.Lock()
        self._writer_thread = Threads("eventseam-write", 1)
        self._reader_thread = Threads("eventseam-read", 1)
        self._handler_threads = Threads("eventseam-tx", self._options.transaction_threads)
        self._writing = ShortWork(self._writer_thread, seams.clock)
        self._reading = ShortWork(self._reader_thread, seams.clock)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._spare: sqlite3.Connection | None = None
        self._data_version: int | None = None
        self._others_seen_at = float("-inf")
        self._rest_until = 0.0

    async def migrate(self, tables: Sequence[str] = ()) -> None:
        """See ports.sql.Store."""

        async def operation(sql: Sql) -> None:
            await bring_up_to_date(sql, self._seams)
            for script in tables:
                await run_script(sql, script)

        await self.write(operation)

    async def ask(self, statement: str, *args: object) -> Sequence[Row]:
        """See ports.sql.Store."""
        return await self.read(lambda sql: sql.rows(statement, *args))

    async def change(self, statement: str, *args: object) -> int:
        """See ports.sql.Store."""
        return await self.write(lambda sql: sql.changed(statement, *args))

    def announce(self) -> None:
        """See ports.sql.Store. Other processes find it when they poll, which costs them 10 us."""

    async def hear(self, wake: Callable[[], None]) -> None:  # noqa: ARG002 - nobody announces
        """See ports.sql.Store."""
        await asyncio.get_running_loop().create_future()

    async def read(self, operation: Operation[T]) -> T:
        """See ports.sql.Store."""
        return await self._reading.run(lambda: self._read_now(operation))

    async def write(self, operation: Operation[T]) -> T:
        """See ports.sql.Store."""

        def body(sql: Sql) -> T:
            return self._writing.timed(lambda: run_sync(operation(sql)))

        async with self._gate:
            await self._rest()
            run = self._writer_thread.run
            connection = self._writer if self._writer is not None else await run(self._own_writer)
            if self._writing.is_short and self._begins_at_once(connection):
                try:
                    return await self._commits_later(connection, body)
                except _TooLongForTheLoop:
                    pass  # rolled back: once more, in a thread
            return await run(lambda: self._in_transaction(connection, body))

    @asynccontextmanager
    async def transaction(self, opening: Opening | None = None) -> AsyncGenerator[Sql]:
        """See ports.sql.Store. The lock of the file is held until the block ends: keep it short."""
        async with self._gate:
            await self._rest()
            run, began = self._writer_thread.run, self._seams.clock.monotonic()
            connection = await run(self._own_writer)
            try:
                began = await run(lambda: self._begin(connection, opening))
                yield _HoppingSql(SqliteSql(connection), self._writer_thread)
                await run(lambda: self._commit(connection))
            except BaseException as error:
                await run(lambda: _roll_back(connection))
                if self.is_unavailable(error):
                    raise self._trouble(error) from error
                raise
            finally:
                self._plan_rest(began)

    async def blocking(self, body: Callable[[Sql], T], opening: Opening | None = None) -> T:
        """See ports.sql.Store. Cancelled, it takes the connection away from a body that hangs."""
        async with self._gate:
            await self._rest()
            spare, self._spare = self._spare, None
            connection = spare if spare is not None else await self._writer_thread.run(self._open)
            lent = LentSql(connection, SqliteSql(connection))
            try:
                result = await self._handler_threads.hurry(lambda: self._lend(connection, lent, body, opening))
            except asyncio.CancelledError:
                await self._take_away(lent)
                raise
            except BaseException:
                self._spare = connection
                raise
            self._spare = connection
            self._data_version = None  # the change that the writer will see was ours
            return result

    def _lend(
        self, connection: sqlite3.Connection, lent: LentSql, body: Callable[[Sql], T], opening: Opening | None
    ) -> T:
        began = self._seams.clock.monotonic()
        try:
            began = lent.run(lambda: self._begin(connection, opening))
            result = body(lent)
            lent.run(lambda: self._commit(connection))
        except BaseException as error:
            if self.is_unavailable(error):
                raise self._trouble(error) from error
            raise
        finally:
            lent.end()
            self._plan_rest(began)
        return result

    async def _take_away(self, lent: LentSql) -> None:
        """Interrupt what a body runs until it lets go of its connection: one interrupt may come too early."""
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(self._writer_thread.run(lent.take_away))
            while not taking.done():
                lent.interrupt()
                await self._seams.clock.sleep(_INTERRUPT_AGAIN_SECONDS)

    def is_unavailable(self, error: BaseException) -> bool:
        """See ports.sql.Store."""
        return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _TROUBLE

    async def close(self) -> None:
        """See ports.sql.Store."""
        async with self._gate:
            for connection in (self._writer, self._reader, self._spare):
                if connection is not None:
                    await self._writer_thread.run(connection.close)
            self._writer = self._reader = self._spare = None
        for threads in (self._writer_thread, self._reader_thread, self._handler_threads):
            threads.close()

    async def _rest(self) -> None:
        """Leave the lock to others for as long as we held it, if there are others."""
        pause = self._rest_until - self._seams.clock.monotonic()
        if pause > 0:
            await self._seams.clock.sleep(pause)

    def _read_now(self, operation: Operation[T]) -> T:
        try:
            if self._reader is None:
                self._reader = self._open()
            self._reader.execute("BEGIN")
            try:
                return run_sync(operation(SqliteSql(self._reader)))
            finally:
                _roll_back(self._reader)
        except sqlite3.Error as error:
            if self.is_unavailable(error):
                raise self._trouble(error) from error
            raise

    def _own_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = self._open()
        return self._writer

    def _begins_at_once(self, connection: sqlite3.Connection) -> bool:
        """Begin on the loop if nobody holds the lock; waiting for it is for a thread."""
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._options.busy_seconds * 1_000)}")
        return True

    async def _commits_later(self, connection: sqlite3.Connection, body: Callable[[Sql], T]) -> T:
        """Run `body` on the loop in the transaction that has begun, and commit in a thread: that waits for the disk.

        Nothing else of the loop runs while the lock is held and nobody is about to give it up: code there that waits
        for the lock would wait for itself.
        """
        began = self._seams.clock.monotonic()
        try:
            self._has_begun(connection)
            with self._at_most(connection, self._options.loop_seconds_max):
                result = body(SqliteSql(connection))
        except BaseException as error:
            _roll_back(connection)
            self._plan_rest(began)
            if _is_interrupt(error):
                raise _TooLongForTheLoop from error
            if self.is_unavailable(error):
                raise self._trouble(error) from error
            raise
        try:
            await self._writer_thread.run(lambda: self._commit_or_roll_back(connection))
        except BaseException as error:
            if self.is_unavailable(error):
                raise self._trouble(error) from error
            raise
        finally:
            self._plan_rest(began)
        return result

    def _in_transaction(self, connection: sqlite3.Connection, body: Callable[[Sql], T]) -> T:
        began = self._seams.clock.monotonic()
        try:
            began = self._begin(connection)
            with self._at_most(connection, self._options.statements_seconds_max):
                result = body(SqliteSql(connection))
            self._commit(connection)
        except BaseException as error:
            _roll_back(connection)
            if _is_interrupt(error):
                raise StorageError(_TOO_LONG.format(self._options.statements_seconds_max)) from error
            if self.is_unavailable(error):
                raise self._trouble(error) from error
            raise
        finally:
            self._plan_rest(began)
        return result

    @contextmanager
    def _at_most(self, connection: sqlite3.Connection, seconds: float) -> Generator[None]:
        """Stop a statement that still runs after `seconds`: it holds the lock, and on the loop everything else."""
        clock = self._seams.clock
        ends = clock.monotonic() + seconds
        connection.set_progress_handler(lambda: clock.monotonic() > ends, _STEPS_PER_LOOK)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)

    def _begin(self, connection: sqlite3.Connection, opening: Opening | None = None) -> float:
        connection.execute("BEGIN IMMEDIATE")
        began = self._has_begun(connection)
        if opening is not None:
            opening.changed = run_sync(SqliteSql(connection).changed(opening.statement, *opening.args))
        return began

    def _has_begun(self, connection: sqlite3.Connection) -> float:
        began = self._seams.clock.monotonic()
        if connection is self._writer:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if self._data_version not in (None, version):
                self._others_seen_at = began
            self._data_version = version
        self._seams.at("begin")
        return began

    def _commit(self, connection: sqlite3.Connection) -> None:
        self._seams.at("pre-commit")
        connection.execute("COMMIT")
        self._seams.at("post-commit")

    def _commit_or_roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            self._commit(connection)
        except BaseException:
            _roll_back(connection)
            raise

    def _plan_rest(self, began: float) -> None:
        ended = self._seams.clock.monotonic()
        held = ended - began
        if ended - self._others_seen_at < self._options.others_seen_seconds:
            self._rest_until = ended + max(self._options.rest_seconds_min, held)
        else:  # a writer that waits without luck leaves no trace: give it a chance of one in five
            self._rest_until = ended + held / 4

    def _open(self) -> sqlite3.Connection:
        """A connection to our own file. Raises StorageError for another program's, before anything in it is changed."""
        try:
            connection = sqlite3.connect(
                self._path,
                timeout=self._options.busy_seconds,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
        except sqlite3.Error as error:
            if self.is_unavailable(error):
                raise self._trouble(error) from error
            raise
        try:
            refuse_a_stranger(connection, self._path)
            self._write_ahead(connection)
            connection.execute(f"PRAGMA synchronous = {self._options.durability.upper()}")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException as error:
            connection.close()
            if self.is_unavailable(error):
                raise self._trouble(error) from error
            raise
        return connection

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Switch the file to its write-ahead log. SQLite does not wait for who does the same at this moment; we do."""
        clock, woken = self._seams.clock, Event()
        ends = clock.monotonic() + self._options.busy_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or clock.monotonic() > ends:
                    raise
                woken.wait(_SWITCH_AGAIN_SECONDS)
            else:
                return

    def _trouble(self, error: BaseException) -> StorageUnavailable:
        """The error that the port promises, naming the file as the URL does, and the fix."""
        fixes = {
            sqlite3.SQLITE_FULL: "the disk is full: free some space",
            sqlite3.SQLITE_BUSY: "another program holds the write lock: keep its transactions short",
            sqlite3.SQLITE_CANTOPEN: _why_not_opened(Path(self._path)),
            sqlite3.SQLITE_NOTADB: "the file is no SQLite database: give another path",
            sqlite3.SQLITE_READONLY: "the file or its folder may not be written: check the permissions",
        }
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        fix = fixes.get(code, "check the file and its disk")
        return StorageUnavailable(f"{self._path}: {error}. {fix[0].upper()}{fix[1:]}.")


def _why_not_opened(path: Path) -> str:
    """What SQLite does not tell of a file that it cannot open."""
    with suppress(OSError):
        if path.is_dir():
            return "this is a folder: name a file in it"
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}: make it first, or correct the path"
    return "check the permissions: the file and its folder must be readable and writable"


class _TooLongForTheLoop(Exception):  # noqa: N818 - a signal inside this module
    """A statement on the loop was stopped."""


def _is_interrupt(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT


def _roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that may be over already."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
