"""Opening a connection: the session's limits, and the checks without which the journal would lose rows.

Refuses, with the reason and the fix: servers older than 15, other encodings than UTF-8, a pooler in between, and a
journal that was written in another cluster. A standby is trouble, not an error: it may be promoted.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import asyncpg

from eventseam.errors import SettingsError, StorageError, StorageUnavailable
from eventseam.storage.postgres_binding import Connection
from eventseam.storage.postgres_errors import is_refusal, is_trouble, sqlstate, told
from eventseam.storage.postgres_rights import denied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eventseam.storage.postgres_url import Address

VERSION_MIN: Final = 15
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 4, 2, 3
_GONE_CHECK_SECONDS: Final = 2

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
FAILED: Final = (
    "a statement failed and its error was caught, after which PostgreSQL commits nothing: all was rolled back. Let the "
    "error out, or try what may fail inside a savepoint"
)
WHO_IS_THERE: Final = """
SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), pg_backend_pid(),
  current_setting('server_encoding'), (SELECT system_identifier FROM pg_control_system())::text,
  to_regclass('eventseam_journal') IS NOT NULL
"""
WHOSE_JOURNAL: Final = "SELECT cluster FROM eventseam_journal"

Role = Literal["write", "poll", "listen", "tx", "handler"]


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """How the database is used. Seconds are bounds beyond which a statement, a lock or a silence is an error.

    `durability="normal"` may lose the last commits at a crash of the server. `idle_seconds_max` ends a transaction of
    ours whose process stands still: keep it below the lease. That of a handler ends after `handler_idle_seconds_max`,
    which must be above every handler's timeout_seconds. `checks_cluster=False` is for `journal rebase` alone.
    """

    durability: Literal["full", "normal"] = "full"
    connect_seconds_max: float = 10.0
    statement_seconds_max: float = 30.0
    lock_seconds_max: float = 5.0
    idle_seconds_max: float = 5.0
    handler_idle_seconds_max: float = 60.0
    answer_seconds_max: float = 10.0
    transactions_max: int = 16
    writes_max: int = 8
    announce_every_seconds: float = 0.005
    checks_cluster: bool = True


def session(address: Address, options: PostgresOptions, role: Role) -> dict[str, str]:
    """The settings of a session; in milliseconds where PostgreSQL has them so."""
    idle = options.handler_idle_seconds_max if role in ("handler", "tx") else options.idle_seconds_max
    settings = {
        "application_name": f"eventseam:{role} {address.application}".strip()[:63],
        "statement_timeout": _milliseconds(options.statement_seconds_max),
        "lock_timeout": _milliseconds(options.lock_seconds_max),
        "idle_in_transaction_session_timeout": _milliseconds(idle),
        "synchronous_commit": "on" if options.durability == "full" else "off",
        "default_transaction_isolation": "read committed",
        "client_connection_check_interval": _milliseconds(_GONE_CHECK_SECONDS),  # a client that is gone locks no rows
        "tcp_keepalives_idle": str(_IDLE_SECONDS),
        "tcp_keepalives_interval": str(_PROBE_SECONDS),
        "tcp_keepalives_count": str(_PROBES),
        "TimeZone": "UTC",
        "DateStyle": "ISO",
        "jit": "off",  # compiling a small query costs more than running it
    }
    return settings | ({"options": address.options} if address.options else {})


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1_000))


def keepalive(options: PostgresOptions) -> dict[str, str]:
    """Libpq's parameters for a network that fails silently."""
    return {
        "connect_timeout": str(max(2, round(options.connect_seconds_max))),
        "keepalives": "1",
        "keepalives_idle": str(_IDLE_SECONDS),
        "keepalives_interval": str(_PROBE_SECONDS),
        "keepalives_count": str(_PROBES),
        "tcp_user_timeout": _milliseconds(options.answer_seconds_max),
    }


async def connect(
    address: Address, options: PostgresOptions, role: Role, monotonic: Callable[[], float], *, known: bool
) -> Connection:
    """A connection that may be used. Raises SettingsError, StorageError or StorageUnavailable.

    Once a database is `known`, a refused password or a missing database is trouble that ends by itself.
    """
    try:
        raw: asyncpg.Connection[Any] = await asyncpg.connect(
            address.asyncpg_dsn,
            timeout=options.connect_seconds_max,
            max_cached_statement_lifetime=0,
            server_settings=session(address, options, role),
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise refused(address, error, known=known) from error
    connection = Connection(raw, address.shown, monotonic)
    try:
        _keep_alive(raw, options)
        await _check(connection, options, known=known)
    except BaseException:
        raw.terminate()
        raise
    return connection


async def _check(connection: Connection, options: PostgresOptions, *, known: bool) -> None:
    raw, seconds = connection.raw, options.answer_seconds_max
    try:
        who = await raw.fetchrow(WHO_IS_THERE, timeout=seconds)
        assert who is not None
        if verify(connection.place, who, raw.get_server_pid()) and options.checks_cluster:
            verify_journal(connection.place, who[4], await raw.fetchval(WHOSE_JOURNAL, timeout=seconds))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause = connection.explained(error)
        if cause is error and is_trouble(error):
            cause = StorageUnavailable(told(connection.place, error))
        elif cause is error and (said := denied(raw.get_settings().session_authorization, error)):
            cause = (StorageUnavailable if known else StorageError)(f"{connection.place}: {said}")
        raise cause from error


def verify(place: str, who: Sequence[Any], backend: int) -> bool:
    """Check what WHO_IS_THERE has told; whether there is a journal, to be verified next.

    `backend` is the process that the protocol has named. Raises StorageError or StorageUnavailable.
    """
    version, is_standby, pid, encoding, _, has_journal = who
    if version // 10_000 < VERSION_MIN:
        raise StorageError(
            f"{place}: PostgreSQL {version // 10_000} is too old. Eventseam needs {VERSION_MIN} or newer."
        )
    if pid != backend:
        raise StorageError(f"{place}: {_POOLER}")
    if encoding != "UTF8":
        raise StorageError(f"{place}: the database has the encoding {encoding}. Create one with ENCODING 'UTF8'.")
    if is_standby:
        raise StorageUnavailable(
            f"{place}: a standby: its snapshots do not list what is running, so that rows would be lost. Give the "
            "URL of the primary, or of both with target_session_attrs=read-write."
        )
    return bool(has_journal)


def verify_journal(place: str, connected: str, cluster: str | None) -> None:
    """Raise StorageError for a journal that was written in another cluster."""
    if cluster is not None and cluster != connected:
        raise StorageError(
            f"{place}: the journal was written in the cluster {cluster}, and this is {connected}: its transaction "
            "numbers mean nothing here. If it was restored or moved, stop every app and run: eventseam journal rebase"
        )


_POOLER: Final = (
    "a pooler answers here (PgBouncer in transaction mode?), which gives each transaction another session: prepared "
    "statements, time-outs and LISTEN would be lost. Give the server's own port, or that of a pool in session mode."
)


_WRONG_SETTING: Final = ("22", "42")
"""A value, or a name, that the server does not take."""

_UNKNOWN_PARAMETER: Final = "unrecognized configuration parameter"
_NO_TLS: Final = re.compile("rejected SSL upgrade|does not support SSL")


def refused(address: Address, error: BaseException, *, known: bool) -> Exception:
    """What a connection that did not come about means: SettingsError, StorageError or StorageUnavailable."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return SettingsError(f"{address.shown}: {error}")
    if "unsupported startup parameter" in str(error):
        return StorageError(f"{address.shown}: {_POOLER}")
    if said := denied(address.user, error):
        return (StorageUnavailable if known else StorageError)(f"{address.shown}: {said}")
    if sqlstate(error)[:2] in _WRONG_SETTING or _UNKNOWN_PARAMETER in str(error):
        return SettingsError(f"{address.shown}: {_first_line(error)}. Correct ?options=… in the URL, or PGOPTIONS")
    if _NO_TLS.search(str(error)):
        return StorageError(f"{address.shown}: {_first_line(error)}. Set TLS up on the server, or give another sslmode")
    if is_refusal(error) and not known:
        return StorageError(told(address.shown, error))
    if isinstance(error, TimeoutError):
        return StorageUnavailable(f"{address.shown}: no answer. Check the address, the server and the network.")
    return StorageUnavailable(told(address.shown, error))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _keep_alive(raw: asyncpg.Connection[Any], options: PostgresOptions) -> None:
    """Let the system notice a network that fails silently."""
    transport = getattr(raw, "_transport", None)
    found = transport.get_extra_info("socket") if transport is not None else None
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    limits: Mapping[str, int] = {
        "TCP_KEEPIDLE": _IDLE_SECONDS,
        "TCP_KEEPINTVL": _PROBE_SECONDS,
        "TCP_KEEPCNT": _PROBES,
        "TCP_USER_TIMEOUT": round(options.answer_seconds_max * 1_000),
    }
    for name, value in limits.items():
        if (number := getattr(socket, name, None)) is not None:  # not every system has all of them
            found.setsockopt(socket.IPPROTO_TCP, number, value)
