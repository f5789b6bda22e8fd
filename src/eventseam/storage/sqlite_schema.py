"""The schema of an embedded database: numbered migrations and services' own tables, in their caller's transaction."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from eventseam.errors import StorageError
from eventseam.storage.catalog import migrations

if TYPE_CHECKING:
    from eventseam.clock import Seams
    from eventseam.ports.sql import Sql

OUR_TABLES = ("event_outbox", "members", "positions", "processed_events", "unsettled")


def refuse_a_stranger(connection: sqlite3.Connection, path: str) -> None:
    """Raise StorageError for a database in which another program has a table of one of our names. Only reads.

    Tables of other names are welcome: a service keeps its own tables in the same file.
    """
    ours = ", ".join(f"'{name}'" for name in OUR_TABLES)
    found = connection.execute(
        f"SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) IN ({ours}) AND NOT EXISTS "  # noqa: S608 - constants
        "(SELECT 1 FROM sqlite_master WHERE name = 'eventseam_migrations') ORDER BY name"
    ).fetchall()
    if found:
        message = f"{path}: this file belongs to another program, which has its own table '{found[0][0]}' there"
        raise StorageError(f"{message}. Nothing was changed. Give another path.")


async def bring_up_to_date(sql: Sql, seams: Seams) -> None:
    """Apply the migrations that a database lacks. Raises StorageError for one of a newer version."""
    await sql.rows("make_migrations")
    applied = {row[0] for row in await sql.rows("applied_migrations")}
    known = migrations("sqlite")
    if applied - {migration.number for migration in known}:
        message = (
            f"the database has migration {max(applied)}, this version of Eventseam knows {known[-1].number}. "
            "Install the version that made it, or use another database"
        )
        raise StorageError(message)
    for migration in known:
        if migration.number not in applied:
            await run_script(sql, migration.script)
            await sql.rows("note_migration", migration.number, migration.name, seams.clock.now().isoformat())


async def run_script(sql: Sql, script: str) -> None:
    """Run each statement of a script in the caller's transaction. Raises what the first bad statement raises."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n\t;"):
                await sql.rows(statement)
            statement = ""
