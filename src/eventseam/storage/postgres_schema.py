"""The schema of a PostgreSQL database: numbered migrations and services' own tables, in their caller's transaction.

Our tables live in the last schema of the search path, so that services with schemas of their own share one journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.errors import StorageError
from eventseam.storage.catalog import migrations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.clock import Seams
    from eventseam.ports.sql import Sql


async def bring_up_to_date(sql: Sql, seams: Seams, tables: Sequence[str] = ()) -> None:
    """Apply the migrations that a database lacks, then the services' own scripts. Raises StorageError."""
    await sql.rows("lock_migrations")
    home = (await sql.rows("home_schema"))[0][0]
    if home is None:
        raise StorageError("no schema of the search path exists. Make one: CREATE SCHEMA …, or correct the search_path")
    await sql.rows("remember_search_path")
    await sql.rows("use_search_path", home)
    await _migrate(sql, seams)
    await sql.rows("restore_search_path")
    for script in tables:
        await run_script(sql, script)


async def _migrate(sql: Sql, seams: Seams) -> None:
    strangers = await sql.rows("strangers")
    if strangers:
        raise StorageError(
            f"another program has its own table '{strangers[0][0]}' in this schema. Nothing was changed. Use another "
            "database, or another schema last in the search_path"
        )
    if not (await sql.rows("has_migrations"))[0][0]:
        await run_script(sql, "make_migrations")
    applied = {row[0] for row in await sql.rows("applied_migrations")}
    known = migrations("postgresql")
    if applied - {migration.number for migration in known}:
        raise StorageError(
            f"the database has migration {max(applied)}, this version of Eventseam knows {known[-1].number}. "
            "Install the version that made it, or use another database"
        )
    for migration in known:
        if migration.number not in applied:
            await run_script(sql, migration.script)
            await sql.rows("note_migration", migration.number, migration.name, seams.clock.now().isoformat())


async def run_script(sql: Sql, script: str) -> None:
    """Run a script of several statements in the caller's transaction. Raises what the first bad statement raises."""
    from eventseam.storage.postgres_binding import PostgresSql, named

    assert isinstance(sql, PostgresSql), "scripts run on the loop"
    if script.strip():
        await sql.raw.execute(named().get(script, script))
