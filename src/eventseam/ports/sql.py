"""The database port: two methods that every driver has, and the store that opens transactions for them.

Storage operations are written once, as `async def` over `Sql`. A blocking driver implements the two methods so that
they never suspend, and `run_sync` finishes such an operation in one step; asyncpg and async psycopg implement the
same methods with real awaits. Placeholders are `$1`, `$2`, … on every driver. The port refuses to know dialects:
a statement is the name of a block in the dialect's `.sql` files, or the user's own SQL text.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from eventseam.errors import EventseamError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")


class Row(Protocol):
    """A result row: readable by position and by column name."""

    def __getitem__(self, key: int | str, /) -> Any:  # noqa: ANN401 - a column can hold any type
        """The value of a column."""
        ...

    def __len__(self) -> int:
        """The number of columns."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The values, in order."""
        ...

    def keys(self) -> Sequence[str]:
        """The column names, in order."""
        ...


class Sql(Protocol):
    """A connection inside a transaction.

    `statement` is the name of a block in the dialect's `.sql` files (a bare word) or SQL text. Parameters are bound,
    never formatted; a list is an array. Rows of named statements are read by position only. Values that a driver does
    not know (Decimal, datetime, UUID, enum on SQLite) are stored as text.
    """

    async def rows(self, statement: str, *args: object) -> Sequence[Row]:
        """Run one statement; its result rows, or for a statement without any an empty sequence."""
        ...

    async def many(self, statement: str, args: Sequence[Sequence[object]]) -> None:
        """Run one statement once per argument list, in order. The driver chooses how (executemany, unnest, COPY)."""
        ...

    async def changed(self, statement: str, *args: object) -> int:
        """Run one statement; the number of rows that it inserted, updated or deleted."""
        ...


Operation = Callable[[Sql], Coroutine[Any, Any, T]]
"""A storage operation: everything that happens in one transaction, written once for all drivers."""


@dataclass(slots=True)
class Opening:
    """A named statement that is run as the first of a transaction: with BEGIN in one trip, where the driver can."""

    statement: str
    args: tuple[object, ...]
    changed: int = 0
    """Afterwards: the number of rows that it inserted, updated or deleted."""


class Store(Protocol):
    """A database. One per app and URL; safe to use from every task of the loop that opened it."""

    @property
    def dialect(self) -> str:
        """The name of the statements folder: `sqlite` or `postgresql`."""
        ...

    @property
    def slots(self) -> int:
        """How many fixed partitions by key the journal is read in (1 where one process writes at a time)."""
        ...

    @property
    def transactions_max(self) -> int:
        """How many of `transaction` and `blocking` may run at once."""
        ...

    @property
    def generation(self) -> int:
        """Changes whenever `ask` has a new connection: a cursor that was loaded before is not valid any more."""
        ...

    async def migrate(self, tables: Sequence[str] = ()) -> None:
        """Bring the schema up to date and run the services' own `tables` scripts, all in one transaction.

        Raises StorageError for a database of a newer version of Eventseam.
        """
        ...

    async def ask(self, statement: str, *args: object) -> Sequence[Row]:
        """Run one named statement that only reads, alone and outside of any transaction. Raises StorageUnavailable."""
        ...

    async def change(self, statement: str, *args: object) -> int:
        """Run one named statement as a transaction of its own; the number of rows that it changed.

        Raises StorageUnavailable (nothing changed), OutcomeUnknown, or what is wrong with the statement.
        """
        ...

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, on one snapshot. Raises StorageUnavailable."""
        ...

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in one write transaction and commit it.

        Raises StorageUnavailable (nothing applied, not the operation's fault), OutcomeUnknown (the commit's reply was
        lost), or whatever the operation raised (rolled back).
        """
        ...

    def transaction(self, opening: Opening | None = None) -> AbstractAsyncContextManager[Sql]:
        """One write transaction whose statements the caller awaits one by one: commit at the end, or roll back."""
        ...

    async def blocking(self, body: Callable[[Sql], T], opening: Opening | None = None) -> T:
        """Run `body` in a thread within one write transaction; its `Sql` never suspends (see `run_sync`)."""
        ...

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether `error` says that the database, not the statement, is in trouble."""
        ...

    def announce(self) -> None:
        """Tell other processes soon that the journal has grown. A hint after a commit, never part of a transaction."""
        ...

    async def hear(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever another process announces, until cancelled."""
        ...

    async def close(self) -> None:
        """Finish what runs and close every connection. Idempotent."""
        ...


def run_sync(operation: Coroutine[Any, Any, T]) -> T:
    """Finish an operation whose `Sql` never suspends (a blocking connection). Raises what the operation raises."""
    try:
        operation.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    operation.close()
    message = "a storage operation suspended on a blocking connection: await it on the loop instead"
    raise EventseamError(message)
