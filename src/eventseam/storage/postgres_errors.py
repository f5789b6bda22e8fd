"""What an error of PostgreSQL or of its drivers means: trouble of the database, a transaction to repeat, or a fault.

Only what says by itself that the database could not work is trouble. A statement that is wrong, slow or refused is its
author's, and stays as it is.
"""

from __future__ import annotations

from typing import Final

import asyncpg
import psycopg

from eventseam.errors import EventseamError, StorageUnavailable

_STATES: Final = frozenset(
    {
        "25006",  # read_only_sql_transaction: a standby, or a provider's guard against a full disk
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "40003",  # statement_completion_unknown
        "55P03",  # lock_not_available: somebody holds it longer than lock_timeout
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P04",  # database_dropped
        "57P05",  # idle_session_timeout
    }
)
_CLASSES: Final = ("08", "53", "58")
"""Connection exceptions; insufficient resources (full disk, too many connections, memory); errors of the system."""
_STATEMENTS_OWN: Final = frozenset({"08P01", "53400"})
"""Of those: a message that the server does not understand; a limit that is set for each statement."""
_OUT_OF_REACH: Final = frozenset({"3F000", "42501", "42703", "42704", "42883", "42P01"})
"""No such schema, column, object, function or table, or no right to it: of what is ours, that is trouble."""

_AGAIN: Final = frozenset({"40001", "40P01"})
_ENDED: Final = frozenset({"57P01", "57P02", "57P04", "57P05", "25P03", "25P04"})
_REFUSED: Final = frozenset({"28000", "28P01", "3D000"})
_SERVER_ERRORS: Final = (asyncpg.PostgresError, psycopg.Error)
_CLOSED: Final = ("is closed", "was closed", "has been released back", "closing", "underlying connection")

FIXES: Final = {
    "25006": "it only reads now: a standby, or a disk that is nearly full. Give the URL of the primary",
    "28000": "the server does not let this user in: check the user in the URL, and pg_hba.conf",
    "28P01": "check the password in the URL",
    "3D000": "create the database first: createdb",
    "53100": "its disk is full: free some space",
    "53300": "raise max_connections, or run fewer processes",
    **dict.fromkeys(
        _OUT_OF_REACH, "what belongs to Eventseam is missing or out of reach. Find out with: eventseam db check"
    ),
    "55P03": "another transaction holds a lock: see pg_stat_activity, and keep transactions short",
}


_WORDS: Final = {
    "password authentication failed": "28P01",
    "no pg_hba.conf entry": "28000",
    " does not exist": "3D000",
    "too many clients": "53300",
    "remaining connection slots": "53300",
}
"""libpq keeps the five characters of a refused connection to itself. In another language the fix is a general one."""


def sqlstate(error: BaseException) -> str:
    """The five characters of an error that has them, or ''."""
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state
    if isinstance(error, psycopg.OperationalError):
        return next((code for words, code in _WORDS.items() if words in str(error)), "")
    return ""


def is_trouble(error: BaseException) -> bool:
    """Whether an error of a driver says that the database, not the statement, is in trouble."""
    if isinstance(error, _SERVER_ERRORS):
        state = sqlstate(error)
        if state:
            return state in _STATES or (state[:2] in _CLASSES and state not in _STATEMENTS_OWN)
        return isinstance(error, psycopg.OperationalError)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return any(words in str(error) for words in _CLOSED)
    return False


def is_out_of_reach(error: BaseException) -> bool:
    """Whether a statement of ours failed because a table of ours is not there, or not for this user."""
    return isinstance(error, _SERVER_ERRORS) and sqlstate(error) in _OUT_OF_REACH


def out_of_reach(told: str) -> StorageUnavailable:
    """The error for a table of ours that is not there, or not for this user."""
    found = StorageUnavailable(told)
    found.is_of_ours = True
    return found


def is_to_repeat(error: BaseException) -> bool:
    """Whether the transaction would succeed if it ran once more: a deadlock, or a plan that a migration outdated."""
    return is_outdated(error) or (isinstance(error, _SERVER_ERRORS) and sqlstate(error) in _AGAIN)


class OutdatedStatement(EventseamError):  # noqa: N818 - says what happened
    """What is known of a statement's table is not so any more. The transaction is repeated."""


def is_outdated(error: BaseException) -> bool:
    """Whether what the connection knows of its statements does not fit the schema any more."""
    if isinstance(error, OutdatedStatement | asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return True
    if isinstance(error, asyncpg.InvalidSQLStatementNameError | psycopg.errors.InvalidSqlStatementName):
        return True  # a function of the user's has deallocated it
    return isinstance(error, psycopg.errors.FeatureNotSupported) and "cached plan" in str(error)


def ends_connection(error: BaseException) -> bool:
    """Whether the server, or the network, ended the connection: of a COMMIT nobody knows what became of it."""
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    state = sqlstate(error)
    return state in _ENDED or state[:2] == "08" or (isinstance(error, psycopg.OperationalError) and not state)


def is_refusal(error: BaseException) -> bool:
    """Whether the server knows us not: wrong user, password or database."""
    return sqlstate(error) in _REFUSED


def told(place: str, error: BaseException) -> str:
    """An error in one line that names the database and, where there is one, the fix. Never a secret."""
    lines = str(error).strip().splitlines()
    what = (lines[0] if lines else type(error).__name__).rstrip(".")
    fix = FIXES.get(sqlstate(error), "check the server and the network")
    return f"{place}: {what}. {fix[0].upper()}{fix[1:]}."
