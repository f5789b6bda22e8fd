"""Publishing on the user's own open connection: the event commits with the user's own writes, or not at all.

Nothing has to run for it and nothing is started: the row lies in the journal when the user commits, and the engine
finds it within 100 ms. A connection without a transaction is refused, and so is one that could fail at random.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from eventseam.errors import NotInTransaction, Overloaded, WiringError
from eventseam.journal.append import Origin, append, rows_for, timestamp
from eventseam.journal.limits import overloaded, pending
from eventseam.ports.sql import run_sync
from eventseam.storage.sqlite_binding import SqliteSql
from eventseam.storage.sqlite_guest import checked_transaction

if TYPE_CHECKING:
    from eventseam.clock import Seams
    from eventseam.delivery.handler import Outgoing
    from eventseam.ports.sql import Sql


def publish_on(connection: object, made: Outgoing, origin: Origin, seams: Seams) -> str:
    """Append a message on `connection`, inside its open transaction; the message's id.

    Raises NotInTransaction, Overloaded (at once: waiting would hold the lock that the readers need), ContractError, or
    WiringError for a connection of a library that is not known here.
    """
    if not isinstance(connection, sqlite3.Connection):
        kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
        message = f"cannot publish on a {kind}. Pass the sqlite3.Connection of the journal's database"
        raise WiringError(message)
    rows = rows_for((made,), origin, seams, timestamp(seams.clock.now()))
    sql = SqliteSql(connection)
    try:
        checked_transaction(connection)
        run_sync(_within_limit(sql, made))
        run_sync(append(sql, rows))
    except sqlite3.OperationalError as error:
        raise _explained(error) from error
    return str(rows[0][5])


async def _within_limit(sql: Sql, made: Outgoing) -> None:
    limit = made.type.channel.limit
    if limit is None or limit.pending_max is None:
        return
    readers = {str(row[0]) for row in await sql.rows("all_positions")}
    if readers and await pending(sql, made.channel, readers, limit.pending_max) >= limit.pending_max:
        raise Overloaded(overloaded(made.channel, limit))


def _explained(error: sqlite3.OperationalError) -> Exception:
    """What an error of the user's connection means for publishing."""
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
        return NotInTransaction(
            "this transaction began deferred and read before it wrote, and somebody wrote meanwhile: SQLite cannot let "
            'it write. Begin it with connection.execute("BEGIN IMMEDIATE")'
        )
    if "no such table" in str(error):
        return WiringError(
            "this database has no journal yet. Publish into the database of EVENTSEAM_DATABASE, after an app was "
            "started on it once"
        )
    return error
