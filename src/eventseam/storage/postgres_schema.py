"""The schema of a PostgreSQL database: numbered migrations and services' own tables, in their caller's transaction.

Our tables are in one schema, where they are or in the last of the search path; services' tables are where the session
creates tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from eventseam.errors import StorageError
from eventseam.storage.catalog import migrations
from eventseam.storage.postgres_home import home_of, obstacle
from eventseam.storage.postgres_rights import denied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.clock import Seams
    from eventseam.ports.sql import Sql

PATIENCE = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'"
"""A migration may take long, and another process's must be waited for."""


async def bring_up_to_date(sql: Sql, raw: asyncpg.Connection[Any], seams: Seams) -> None:
    """Apply the migrations that a database lacks. Raises StorageError for one of a newer version, or a stranger's."""
    await sql.rows("lock_migrations")
    home = await home_of(sql)
    if (wrong := await obstacle(sql, home)) is not None:
        raise wrong.error()
    await sql.rows("remember_search_path")
    await sql.rows("use_search_path", home)
    if not (await sql.rows("has_migrations"))[0][0]:
        await sql.rows("make_migrations")
    applied = {row[0] for row in await sql.rows("applied_migrations")}
    known = migrations("postgresql")
    if applied - {migration.number for migration in known}:
        raise StorageError(
            f"the database has migration {max(applied)}, this version of Eventseam knows {known[-1].number}. "
            "Install the version that made it, or use another database"
        )
    for migration in known:
        if migration.number not in applied:
            await run_script(raw, migration.script)
            await sql.rows("note_migration", migration.number, migration.name, seams.clock.now().isoformat())
    await sql.rows("restore_search_path")


async def run_tables(raw: asyncpg.Connection[Any], tables: Sequence[str]) -> None:
    """Run the services' scripts."""
    for script in tables:
        await run_script(raw, script)


async def run_script(raw: asyncpg.Connection[Any], script: str) -> None:
    """Run a script in the caller's transaction. Raises what a bad statement raises; StorageError if it ends that.

    StorageError as well for what this role may not do.
    """
    try:
        await raw.execute(script, timeout=None)
    except asyncpg.InsufficientPrivilegeError as error:
        role = raw.get_settings().session_authorization
        raise StorageError(denied(role, error) or f"{error}, for the role {role!r}: let another one do it") from error
    if not raw.is_in_transaction():
        raise StorageError(f"a script of tables ends the transaction: leave COMMIT and ROLLBACK out of {script[:80]!r}")
