"""A look into a PostgreSQL database, and foreign programs that write to it: plain psycopg, nothing of Eventseam."""

from __future__ import annotations

from typing import Any

import psycopg


def connect(url: str, application: str = "stranger") -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of a foreign program: autocommit, with a name that `pg_stat_activity` shows."""
    return psycopg.connect(url, autocommit=True, connect_timeout=10, application_name=application)


def query(url: str, statement: str, *args: object) -> list[tuple[Any, ...]]:
    """Run one statement (placeholders %s) in its own transaction; all its rows, [] if it gives none."""
    with connect(url) as connection:
        cursor = connection.execute(statement, args or None)
        return cursor.fetchall() if cursor.description else []


def script(url: str, text: str) -> None:
    """Run several statements as `psql -f` does; BEGIN and COMMIT among them count."""
    with connect(url) as connection:
        connection.execute(text)


def heard(url: str, handler: str = "hear", who: str | None = None) -> list[int]:
    """The numbers that a handler of `talk.ears` has applied, in order of application."""
    statement = "SELECT n FROM heard WHERE handler = %s AND (%s::text IS NULL OR who = %s) ORDER BY id"
    return [row[0] for row in query(url, statement, handler, who, who)]


def unsettled(url: str) -> list[tuple[str, str, str, int]]:
    """(handler, lane, state, attempts) of everything unsettled, oldest first."""
    return query(url, "SELECT handler, lane, state, attempts FROM unsettled ORDER BY id")


def insert(url: str, key: str, payload: str, *, kind: str = "talk.said", channel: str = "talk") -> None:
    """What any program in any language does: a plain INSERT of the four columns."""
    query(
        url,
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES (%s, %s, %s, %s)",
        channel,
        key,
        kind,
        payload,
    )


def connected(url: str) -> list[str]:
    """The application names of everybody else who is connected to this database."""
    statement = """
        SELECT application_name FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY 1
    """
    return [row[0] for row in query(url, statement)]


def cut_off(url: str, application: str) -> int:
    """End the connections of an application, as an administrator or a failing network does; how many there were."""
    statement = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE %s AND pid <> pg_backend_pid()
    """
    return len(query(url, statement, application))
