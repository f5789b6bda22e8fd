"""`eventseam db`: the schema: brings it up to date, checks it and the server, prints the SQL for whoever runs it.

Apps bring it up to date themselves when they start; these commands are for those who want to do so before.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from eventseam.cli.checkup import Checkup, examination, lacking
from eventseam.cli.exits import Exit
from eventseam.cli.parsing import Command, add_database, seconds
from eventseam.cli.render import Screen, Table, count_of
from eventseam.cli.store import applied, check_place, database_of, use_as_it_is
from eventseam.storage.catalog import Migration, migrations, statements

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from eventseam.ports.sql import Store


# --- migrate ------------------------------------------------------------------------------------------------------


def _migrate_arguments(parser: argparse.ArgumentParser) -> None:
    add_database(parser)


def _migrate(args: argparse.Namespace, screen: Screen) -> int:
    """Apply what lacks; what is there is left alone."""

    async def migrate(store: Store) -> tuple[frozenset[int], frozenset[int]]:
        before = await store.read(applied)
        for each in lacking(store.dialect, before):
            _tell(f"to apply: {_name(each)}")
        _tell("bringing the schema up to date, under its lock …")
        await store.migrate()
        return before, await store.read(applied)

    before, after = use_as_it_is(database_of(args), migrate, may_make=True)
    new = sorted(after - before)
    told = f"{count_of(len(new), 'migration')} applied; the schema is at {max(after):04d}."
    screen.show({"applied": new, "schema": max(after)}, told if new else f"Up to date: {max(after):04d}.")
    return Exit.OK


def _tell(line: str) -> None:
    """Progress goes to stderr: stdout has the answer."""
    print(line, file=sys.stderr, flush=True)


def _name(migration: Migration) -> str:
    return f"{migration.number:04d} {migration.name}"


# --- check --------------------------------------------------------------------------------------------------------


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        type=seconds,
        metavar="S",
        help="name who has held something for S seconds (default: a transaction for 60, a lock on positions for 5)",
    )
    add_database(parser)


def _check(args: argparse.Namespace, screen: Screen) -> int:
    """Look once. Exit 1 if something has to be done."""

    async def check(store: Store) -> Checkup:
        return await store.read(examination(store.dialect, args.older_than))

    found = use_as_it_is(database_of(args), check, any_cluster=True)
    blocks: list[Table | str] = []
    if found.findings:
        rows = [(each.level, each.what, each.fix) for each in found.findings]
        blocks.append(Table(("", "found", "fix"), rows))
    if found.gauges:
        held = [(each.kind, each.pid, each.application, _age(each.age_seconds), each.detail) for each in found.gauges]
        blocks.append(Table(("held by", "pid", "application", "seconds", ""), held))
    at = f"The schema is at {max(found.applied):04d}." if found.applied else "No schema that could be read."
    screen.show(found.document(), *blocks, f"{at} {'Nothing to do.' if found.is_clean else 'See above.'}")
    return Exit.OK if found.is_clean else Exit.FOUND


def _age(age_seconds: float | None) -> float | None:
    return None if age_seconds is None else round(age_seconds, 1)


# --- sql ----------------------------------------------------------------------------------------------------------


def _sql_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="print all, for an empty database; connects to nothing")
    add_database(parser)


def _sql(args: argparse.Namespace, screen: Screen) -> int:
    """Print what lacks as one script."""
    url = database_of(args)
    if args.all:
        dialect = "sqlite" if url.startswith("sqlite:") else "postgresql"
        has: frozenset[int] = frozenset()
    else:

        async def look(store: Store) -> tuple[str, frozenset[int]]:
            await store.read(check_place(store.dialect))
            return store.dialect, await store.read(applied)

        dialect, has = use_as_it_is(url, look)
    wanted = list(migrations(dialect)) if args.all else lacking(dialect, has)
    text = script(dialect, wanted, is_new=not has)
    document = {"migrations": [{"number": each.number, "name": each.name} for each in wanted], "script": text}
    if args.json:
        screen.show(document)
    else:
        screen.write(text.rstrip("\n"))
    return Exit.OK


_NOT_TWICE: Final = """DO $$ BEGIN
  IF to_regclass('eventseam_migrations') IS NOT NULL THEN
    RAISE EXCEPTION 'this script has been applied: see eventseam db check';
  END IF;
END $$;
"""


def script(dialect: str, wanted: Sequence[Migration], *, is_new: bool) -> str:
    """The SQL that does what `db migrate` does, in one transaction and under the same lock."""
    if not wanted:
        return "-- Nothing lacks: the schema is up to date.\n"
    named = statements(dialect)
    head = "BEGIN IMMEDIATE;\n"
    now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    if dialect == "postgresql":
        now = "now()"
        head = (
            f"BEGIN;\nSET LOCAL lock_timeout = '60s';\n{named['lock_migrations']};\n"
            "-- Our tables are where they are, or in the last schema of the search path.\n"
            f"SELECT set_config('search_path', quote_ident((\n{named['home_schema']})), true);\n"
        )
        if is_new:
            head += _NOT_TWICE
    made = f"{named['make_migrations']};\n" if is_new else ""
    steps = "".join(
        f"\n-- {_name(each)}\n{each.script.rstrip()}\n"
        f"INSERT INTO eventseam_migrations (number, name, applied_at) VALUES ({each.number}, '{each.name}', {now});\n"
        for each in wanted
    )
    return f"{head}{made}{steps}\nCOMMIT;\n"


_EXITS = (Exit.OK, Exit.USAGE, Exit.WIRING, Exit.STORAGE)

COMMANDS = (
    Command(
        name="db migrate",
        summary="bring the schema up to date",
        details=(
            "Apply the migrations that a database lacks, in one transaction and under a lock: another process that\n"
            "does so is waited for. Processes of the version before keep running on the new schema. Apps do this\n"
            "themselves when they start. A SQLite file that is missing is made."
        ),
        examples=(
            "eventseam db migrate --database sqlite:///shop.db",
            "eventseam db migrate --database postgresql://shop@db/shop --json",
        ),
        arguments=_migrate_arguments,
        run=_migrate,
        exits=_EXITS,
    ),
    Command(
        name="db check",
        summary="what is missing, has drifted or endangers the database, and who holds what for too long",
        details=(
            "Compare the schema with what the migrations make; on PostgreSQL check the role's rights and the server's\n"
            "settings, and name who holds something for too long: old transactions, replication slots, forgotten\n"
            "prepared transactions, locks on rows of positions, each with process, application and age. Exit code 1\n"
            "if something has to be done."
        ),
        examples=(
            "eventseam db check --database postgresql://shop@db/shop",
            "eventseam db check --older-than 10",
            "eventseam db check --json | jq '.gauges[] | {kind, pid, application, age_seconds}'",
        ),
        arguments=_check_arguments,
        run=_check,
        exits=(Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE),
    ),
    Command(
        name="db sql",
        summary="print the migrations that a database lacks, for somebody else to run",
        details=(
            "Print what `db migrate` would do as one script: run it with psql or sqlite3, and the result is the same.\n"
            "--all prints every migration, for a database that is empty, and connects to nothing."
        ),
        examples=(
            "eventseam db sql --database postgresql://shop@db/shop > migrate.sql",
            "eventseam db sql --all --database postgresql: | psql shop",
            "eventseam db sql --all --database sqlite:///shop.db | sqlite3 shop.db",
        ),
        arguments=_sql_arguments,
        run=_sql,
        exits=_EXITS,
    ),
)
"""The commands of the group."""
