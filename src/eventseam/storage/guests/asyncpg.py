"""A user's asyncpg connection, their own or a pool's, inside `async with connection.transaction()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from eventseam.errors import NotInTransaction, StorageUnavailable
from eventseam.storage.guests.guest import Guest, GuestSql

if TYPE_CHECKING:
    from collections.abc import Sequence


class Connection(Protocol):
    """What is needed of `asyncpg.Connection`, which a pool's proxy has too."""

    def is_closed(self) -> bool:
        """Whether the connection is over."""
        ...

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not."""
        ...

    async def fetch(self, query: str, /, *args: object) -> Sequence[Sequence[Any]]:
        """Run one statement."""
        ...


def guest(connection: Connection) -> Guest:
    """An `asyncpg.Connection` or what `pool.acquire()` gives."""

    async def execute(text: str, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        return await connection.fetch(text, *args)

    async def check() -> None:
        if connection.is_closed():
            raise StorageUnavailable("this connection is closed: nothing was published")
        if not connection.is_in_transaction():
            raise NotInTransaction(
                "publishing outside a transaction: the event could be lost, or lie about a write that failed. Write: "
                "async with connection.transaction(): your own statements, then await publish_async(…)"
            )

    return Guest(GuestSql("postgresql", "dollar", execute), check, lambda: _place(connection), waits=True)


def _place(connection: object) -> str:
    """Its server and database, which asyncpg keeps without a public name."""
    parameters = getattr(connection, "_params", None)
    return f"{getattr(connection, '_addr', '')}/{getattr(parameters, 'database', '')}"
