"""The engine's own connection in the hands of SQLAlchemy or Django: the transaction is not theirs to end.

A driver's connection is lent for the time of one handler. Committing it is refused, rolling it back is remembered (a
handler that returns afterwards fails: half of its work would be missing), closing it does nothing. Rows are fetched in
the step that asks for them, under the lock of whoever lends, so that a handler that hangs can be stopped.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from eventseam.errors import EventseamError, WiringError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventseam.ports.sql import Sql

    Run = Callable[[Callable[[], Any]], Any]

T = TypeVar("T")

CONNECTIONS_MAX = 64
"""How many connections have something kept for them: beyond any pool of ours; the oldest are those that were lost."""

_TROUBLE = frozenset({"OperationalError", "InterfaceError", "InternalError", "DBAPIError", "Error"})


def raw_of(sql: Sql, tool: str) -> Any:  # noqa: ANN401 - whatever the driver has
    """The driver's own connection under a transaction. Raises WiringError where it is not to be had."""
    raw = getattr(sql, "raw", None)
    if raw is None:
        raise WiringError(
            f"{tool} needs the driver's own connection, which this transaction ({type(sql).__name__}) does not give. "
            "Use tx.execute() and tx.fetch_all() here, or a def handler (tx: SyncTx)."
        )
    return raw


def own_cursor(connection: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the driver's
    """A cursor as the connection makes it."""
    return connection.cursor(*args, **options)


def step_of(sql: Sql) -> Run:
    """How a step that uses the connection is run: under the lender's lock, if there is one."""
    run: Run = getattr(sql, "run", _at_once)
    return run


def refuse_commit() -> NoReturn:
    """Raise EventseamError: what the engine appends after the handler would be outside the transaction."""
    raise EventseamError("the transaction is not the handler's to end. Return to commit it, raise to undo it")


def refuse_rollback() -> NoReturn:
    """Raise EventseamError: what was done before would be undone without a word."""
    raise EventseamError(
        "the transaction is not the handler's to end: raise to undo all of it. To try something that may fail, use a "
        "savepoint: session.begin_nested() of SQLAlchemy, transaction.atomic() of Django"
    )


def check_whole(*, rolled_back: bool) -> None:
    """Raise EventseamError if a handler wants to commit a transaction of which a part was rolled back."""
    if rolled_back:
        raise EventseamError(
            "the handler returned although a part of its work was rolled back, after an error or by hand, and would be "
            "missing. Let the error out, or try what may fail inside a savepoint: session.begin_nested() of "
            "SQLAlchemy, transaction.atomic() of Django"
        )


def driver_error(error: BaseException) -> BaseException:
    """The driver's own error under one that says the database is in trouble; any other error as it is.

    The store knows its driver's errors: that a database is gone must not count as the message's failure.
    """
    if type(error).__name__ not in _TROUBLE or not type(error).__module__.startswith(("sqlalchemy.", "django.")):
        return error
    orig: BaseException | None = getattr(error, "orig", None) or error.__cause__
    if orig is not None and type(orig).__module__.startswith("sqlalchemy."):  # asyncpg's, adapted
        orig = orig.__cause__ or orig
    return orig or error


class PerConnection(Generic[T]):
    """What is made once per connection of the driver's, at most `CONNECTIONS_MAX` of them. Usable from every thread."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        """Make nothing yet."""
        self._make = make
        self._kept: dict[int, tuple[Any, T]] = {}
        self._lock = threading.Lock()

    def of(self, raw: Any) -> T:  # noqa: ANN401 - whatever the driver has
        """What was made for `raw`, which is kept alive with it: its id is given to no other connection."""
        with self._lock:
            kept = self._kept.get(id(raw))
            if kept is None:
                if len(self._kept) >= CONNECTIONS_MAX:
                    del self._kept[next(iter(self._kept))]
                kept = self._kept[id(raw)] = (raw, self._make(raw))
            return kept[1]


class LentConnection:
    """A DBAPI connection of somebody else. `run` executes each step; it changes from handler to handler."""

    def __init__(self, raw: Any, make_cursor: Callable[..., Any]) -> None:  # noqa: ANN401 - whatever the driver has
        """Lend `raw`; cursors come from `make_cursor`."""
        self._raw = raw
        self._make_cursor = make_cursor
        self.run: Run = _over
        self.rolled_back = False

    def lend(self, run: Run) -> None:
        """From now on, until `take_back`."""
        self.run = run
        self.rolled_back = False

    def begin_anew(self) -> None:
        """Nothing was rolled back that a handler did."""
        self.rolled_back = False

    def take_back(self) -> None:
        """Refuse all further use."""
        self.run = _over

    def cursor(self, *args: Any, **kwargs: Any) -> LentCursor:  # noqa: ANN401 - the driver's
        """A cursor whose steps run where the lender wants them."""
        return LentCursor(self, self._make_cursor(self._raw, *args, **kwargs))

    def commit(self) -> None:
        """Raise EventseamError."""
        refuse_commit()

    def rollback(self) -> None:
        """Remember it: the handler must not return."""
        self.rolled_back = True

    def close(self) -> None:
        """Keep it open: it is not ours."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the driver's
        return getattr(self._raw, name)


class LentCursor:
    """A DBAPI cursor that has all its rows at once, for they were fetched in the step that executed."""

    def __init__(self, connection: LentConnection, cursor: Any) -> None:  # noqa: ANN401 - the driver's
        """Use `cursor`."""
        self._connection = connection
        self._cursor = cursor
        self._rows: deque[Any] = deque()
        self.arraysize = 1

    def execute(self, *args: Any, **kwargs: Any) -> LentCursor:  # noqa: ANN401 - the driver's
        """Execute one statement and fetch its rows."""
        self._rows = self._connection.run(lambda: _executed(self._cursor, args, kwargs))
        return self

    def executemany(self, *args: Any, **kwargs: Any) -> LentCursor:  # noqa: ANN401 - the driver's
        """Execute one statement for many rows."""
        self._rows = deque()
        self._connection.run(lambda: self._cursor.executemany(*args, **kwargs))
        return self

    def fetchone(self) -> Any:  # noqa: ANN401 - a row of the driver's
        """The next row, or None."""
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Up to `size` rows."""
        return [self._rows.popleft() for _ in range(min(size or self.arraysize, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, self._rows = list(self._rows), deque()
        return rows

    def close(self) -> None:
        """Drop the rows that are left."""
        self._rows = deque()
        self._cursor.close()

    def __iter__(self) -> Iterator[Any]:
        while self._rows:
            yield self._rows.popleft()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the driver's
        return getattr(self._cursor, name)


class LentAsyncpg:
    """An asyncpg connection of somebody else, as SQLAlchemy's `async_creator` gives it."""

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 - asyncpg is optional
        """Lend `raw`."""
        self._raw = raw
        self.rolled_back = False

    def lend(self, _run: Run) -> None:
        """From now on: nothing was rolled back."""
        self.rolled_back = False

    def begin_anew(self) -> None:
        """Nothing was rolled back that a handler did."""
        self.rolled_back = False

    def take_back(self) -> None:
        """The session that used it refuses further use."""

    def transaction(self, **_options: object) -> LentAsyncpg:
        """The transaction that is open already."""
        return self

    async def start(self) -> None:
        """It has begun."""

    async def commit(self) -> None:
        """Raise EventseamError."""
        refuse_commit()

    async def rollback(self) -> None:
        """Remember it: the handler must not return."""
        self.rolled_back = True

    async def close(self, **_options: object) -> None:
        """Keep it open: it is not ours."""

    def terminate(self) -> None:
        """Keep it open: it is not ours."""

    async def set_type_codec(self, *_args: object, **_options: object) -> None:
        """Keep the codecs that the lender has set."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - asyncpg's
        return getattr(self._raw, name)


def _executed(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> deque[Any]:  # noqa: ANN401 - the driver's
    cursor.execute(*args, **kwargs)
    return deque(cursor.fetchall() if cursor.description else ())


def _at_once(step: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the step gives
    return step()


def _over(_step: Callable[[], Any]) -> NoReturn:
    raise EventseamError("the session of a handler was used after the handler had returned: its transaction is over")
