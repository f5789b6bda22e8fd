"""A user's psycopg 3 connection, blocking or async, inside `connection.transaction()` or without autocommit.

Statements go through a raw cursor of our own: the connection's row and cursor factories stay untouched. In pipeline
mode the pipeline is synced around them, so that an error of ours is raised here and not at a statement of the user's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from eventseam.errors import MissingExtraError, NotInTransaction, StorageUnavailable
from eventseam.storage.guests.guest import FAILED, Guest, GuestSql

try:
    from psycopg import AsyncRawCursor, RawCursor
except ImportError as error:  # pragma: no cover - psycopg 3.1
    raise MissingExtraError(
        "publishing on a psycopg connection needs psycopg 3.2. Install it with: pip install 'eventseam[postgresql]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Sequence


def blocking_guest(connection: psycopg.Connection[Any]) -> Guest:
    """A `psycopg.Connection`."""

    async def execute(text: str, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        with RawCursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(text.encode(), args)
            if _is_pipeline(connection):
                _sync(connection)
            return cursor.fetchall() if cursor.description else ()

    async def check() -> None:
        if _is_pipeline(connection):
            _sync(connection)
        _check(connection)

    return Guest(GuestSql("postgresql", "dollar", execute), check, lambda: _place(connection.info))


def async_guest(connection: psycopg.AsyncConnection[Any]) -> Guest:
    """A `psycopg.AsyncConnection`."""

    async def execute(text: str, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        async with AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(text.encode(), args)
            if _is_pipeline(connection):
                await _sync_async(connection)
            return await cursor.fetchall() if cursor.description else ()

    async def check() -> None:
        if _is_pipeline(connection):
            await _sync_async(connection)
        _check(connection)

    return Guest(GuestSql("postgresql", "dollar", execute), check, lambda: _place(connection.info), waits=True)


def _check(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Without autocommit psycopg begins the transaction with the first statement, which may be ours."""
    status = connection.info.transaction_status
    if status == TransactionStatus.UNKNOWN:
        raise StorageUnavailable("this connection is closed or broken: nothing was published")
    if status == TransactionStatus.INERROR:
        raise NotInTransaction(FAILED)
    if connection.autocommit and status != TransactionStatus.INTRANS:
        raise NotInTransaction(
            "publishing in autocommit mode, outside a transaction: the event could be lost, or lie about a write that "
            "failed. Write: with connection.transaction(): your own statements, then publish(…) (async with, for an "
            "AsyncConnection)"
        )


def _is_pipeline(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return connection.info.pipeline_status != PipelineStatus.OFF


def _sync(connection: psycopg.Connection[Any]) -> None:
    with connection.pipeline() as pipeline:
        pipeline.sync()


async def _sync_async(connection: psycopg.AsyncConnection[Any]) -> None:
    async with connection.pipeline() as pipeline:
        await pipeline.sync()


def _place(info: psycopg.ConnectionInfo) -> str:
    return f"{info.host}:{info.port}/{info.dbname}"
