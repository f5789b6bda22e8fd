"""Opening a connection to PostgreSQL: session settings, and the checks that no session may skip.

Refused, each with its reason and fix: an old server, a standby, a pooler in between, another encoding, and a journal
whose transaction numbers are another cluster's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import asyncpg

from eventseam.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST = 15
_STANDBY = "the server is a standby, on which a journal cannot be read without loss. Connect to the primary"
_POOLER = (
    "there is a pooler (PgBouncer?) between us and the server: sessions, their settings and prepared statements would "
    "not be ours. Connect to the server's own port, or to a pool in session mode that passes its process ids on"
)
_TROUBLE_CLASSES = ("08", "53", "57", "58", "XX")
_TROUBLE_STATES = frozenset({"55P03", "25006", "25P03", "40001", "40P01"})
_STATEMENTS_FAULT = frozenset({"57014"})
CONFLICTS = frozenset({"40001", "40P01"})
"""A serialization failure and a deadlock: the same transaction may succeed when it runs again."""


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """How sessions are set up. `durability="normal"` may lose the last commits at a crash of the server.

    `idle_seconds_max` ends a transaction whose process does nothing (it was stopped, or its machine is gone), so that
    what it has locked is free again: a part of the fence. `checks_cluster=False` is for `journal rebase` alone.
    """

    durability: Literal["full", "normal"] = "full"
    connections_max: int = 10
    transactions_max: int = 16
    connect_seconds: float = 5.0
    statement_seconds_max: float = 30.0
    lock_seconds_max: float = 5.0
    idle_seconds_max: float = 5.0
    silence_seconds_max: float = 10.0
    checks_cluster: bool = True

    def session(self) -> Mapping[str, str]:
        """The settings of a session."""
        return {
            "application_name": "eventseam",
            "TimeZone": "UTC",
            "statement_timeout": str(int(self.statement_seconds_max * 1_000)),
            "lock_timeout": str(int(self.lock_seconds_max * 1_000)),
            "idle_in_transaction_session_timeout": str(int(self.idle_seconds_max * 1_000)),
            "synchronous_commit": "on" if self.durability == "full" else "off",
            "tcp_user_timeout": str(int(self.silence_seconds_max * 1_000)),
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
        }


async def connect(url: str, options: PostgresOptions) -> asyncpg.Connection[Any]:
    """A checked connection. Raises StorageUnavailable (try again later) or StorageError (it will not get better)."""
    bound = options.statement_seconds_max + options.silence_seconds_max
    try:
        connection = await asyncpg.connect(
            url,
            timeout=options.connect_seconds,
            command_timeout=bound,
            server_settings=dict(options.session()),
            statement_cache_size=500,
            max_cached_statement_lifetime=0,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, asyncio.IncompleteReadError) as error:
        if is_trouble(error):
            raise StorageUnavailable(f"the database cannot be reached: {told(error)}") from error
        raise StorageError(f"the database refuses the connection: {told(error)}") from error
    try:
        await _check(connection, options)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _check(connection: asyncpg.Connection[Any], options: PostgresOptions) -> None:
    """Raise StorageError or StorageUnavailable for a session in which our promises do not hold."""
    version, is_standby, pid, encoding, cluster, has_journal = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery(), pg_backend_pid(),"
        " current_setting('server_encoding'), (SELECT system_identifier::text FROM pg_control_system()),"
        " to_regclass('eventseam_journal') IS NOT NULL"
    )
    refuse_unfit(version, encoding, is_pooled=pid != connection.get_server_pid())
    if is_standby:
        raise StorageUnavailable(_STANDBY)
    if has_journal and options.checks_cluster:
        written = await connection.fetchval("SELECT cluster FROM eventseam_journal")
        if written != cluster:
            raise StorageError(foreign_cluster(written, cluster))


def refuse_unfit(version: int, encoding: str, *, is_pooled: bool) -> None:
    """Raise StorageError for a server, an encoding or a pooler that our promises do not hold with."""
    if version < OLDEST:
        raise StorageError(f"the server is PostgreSQL {version}; Eventseam needs {OLDEST} or newer. Upgrade it")
    if is_pooled:
        raise StorageError(_POOLER)
    if encoding != "UTF8":
        raise StorageError(f"the database's encoding is {encoding}: make one with ENCODING 'UTF8'")


def foreign_cluster(written: str, connected: str) -> str:
    """What is said of a journal that was restored or moved."""
    return (
        f"this journal was written in the cluster {written}, and this is {connected}: its transaction numbers mean "
        "nothing here. If it was restored or moved, stop every app that uses it and run: eventseam journal rebase"
    )


def is_trouble(error: BaseException) -> bool:
    """Whether an error of asyncpg says that the server or the connection, not the statement, is in trouble."""
    if isinstance(error, StorageUnavailable | OSError | TimeoutError | asyncio.IncompleteReadError):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return is_trouble_state(getattr(error, "sqlstate", None) or "")
    return isinstance(error, asyncpg.InterfaceError) and is_lost(error)


def is_trouble_state(state: str) -> bool:
    """Whether an SQLSTATE says that the server, not the statement, is in trouble."""
    return state not in _STATEMENTS_FAULT and (state[:2] in _TROUBLE_CLASSES or state in _TROUBLE_STATES)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone."""
    if isinstance(error, asyncpg.PostgresConnectionError | OSError | TimeoutError | asyncio.IncompleteReadError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)


def told(error: BaseException) -> str:
    """An error in one line; drivers put no secrets into theirs."""
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
