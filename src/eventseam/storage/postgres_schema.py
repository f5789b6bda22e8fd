"""The schema of a PostgreSQL database: numbered migrations and services' own tables, in their caller's transaction.

Our tables are in one schema, the last of the search path; services' tables are where the session creates tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventseam.errors import StorageError
from eventseam.storage.catalog import migrations

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from eventseam.clock import Seams
    from eventseam.ports.sql import Sql

PATIENCE = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'"
"""A migration may take long, and another process's must be waited for."""


async def bring_up_to_date(sql: Sql, raw: asyncpg.Connection[Any], seams: Seams) -> None:
    """Apply the migrations that a database lacks. Raises StorageError for one of a newer version, or a stranger's."""
    await sql.rows("lock_migrations")
    home = (await sql.rows("home_schema"))[0][0]
    if home is None:
        raise StorageError(
            "no schema of the search path exists: create it, or correct ?options=-csearch_path%3D… in the URL"
        )
    await sql.rows("remember_search_path")
    await sql.rows("use_search_path", home)
    if not (await sql.rows("has_migrations"))[0][0]:
        strangers = await sql.rows("strangers")
        if strangers:
            raise StorageError(
                f"the schema {home!r} belongs to another program, which has its own table {strangers[0][0]!r} there. "
                "Nothing was changed. Give another database, or another schema: ?options=-csearch_path%3Dshop"
            )
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
    """Run a script in the caller's transaction. Raises what a bad statement raises; StorageError if it ends that."""
    await raw.execute(script, timeout=None)
    if not raw.is_in_transaction():
        raise StorageError(f"a script of tables ends the transaction: leave COMMIT and ROLLBACK out of {script[:80]!r}")
