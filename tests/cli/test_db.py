"""`db`: migrate, check and sql on both databases; a script that is printed does what `migrate` does."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from eventseam import App, StorageError
from eventseam.app.settings import Settings
from eventseam.app.stores import open_store
from eventseam.cli.exits import Exit
from eventseam.clock import Seams
from eventseam.storage import catalog, postgres_schema, sqlite_schema
from eventseam.storage.shape import actual, expected
from eventseam.testing.servers import postgres
from tests.support import file
from tests.support.place import Databases, url_of
from tests.support.postgres import connect, script
from tests.support.schema import lines_of
from tests.support.talk import ears, on_loop

SCHEMAS = {"sqlite": sqlite_schema, "postgresql": postgres_schema}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        yield tmp_path / "db"
        return
    databases = Databases(request.getfixturevalue("postgres_server"))
    yield databases / "db"
    databases.drop()


def dialect_of(place):
    return "postgresql" if isinstance(place, str) else "sqlite"


def run_script(place, text):
    if isinstance(place, str):
        script(place, text)
        return
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        connection.executescript(text)


def make_previous(place, monkeypatch):
    """A database of the migration before the newest."""
    known = catalog.migrations(dialect_of(place))

    async def migrate():
        store = open_store(Settings(database=url_of(place)), Seams())
        await store.migrate()
        await store.close()

    with monkeypatch.context() as older:
        older.setattr(SCHEMAS[dialect_of(place)], "migrations", lambda dialect: known[:-1])
        asyncio.run(migrate())
    return known


def shape_of(place):
    async def look():
        store = open_store(Settings(database=url_of(place)), Seams())
        try:
            return await store.read(actual)
        finally:
            await store.close()

    return asyncio.run(look())


def numbers(place):
    return [row[0] for row in file.query(place, "SELECT number FROM eventseam_migrations ORDER BY number")]


async def test_the_expected_schema_is_what_the_migrations_make(place):
    """When this fails after a new migration: python -m tests.support.schema"""
    assert sorted(expected(dialect_of(place))) == await lines_of(url_of(place))


def test_migrate_makes_everything_once_and_tells_what_it_did(cli, place):
    known = [each.number for each in catalog.migrations(dialect_of(place))]
    ended = cli("db", "migrate", "--json", "--database", url_of(place))
    assert {"applied": known, "schema": known[-1]} == ended.document
    assert "to apply: 0001 ground\n" in ended.err
    again = cli("db", "migrate", "--database", url_of(place))
    assert (Exit.OK, f"Up to date: {known[-1]:04d}.\n") == (again.code, again.out)


def test_migrate_applies_what_lacks(cli, place, monkeypatch):
    known = make_previous(place, monkeypatch)
    assert f"needs {known[-1].number}. Bring it up to date with: eventseam db migrate" in (
        cli("lag", "--database", url_of(place)).err
    )
    assert [known[-1].number] == cli("db", "migrate", "--json", "--database", url_of(place)).document["applied"]
    assert Exit.OK == cli("lag", "--database", url_of(place)).code


def test_check_tells_what_is_missing_and_what_is_newer(cli, place, monkeypatch):
    known = make_previous(place, monkeypatch)
    ended = cli("db", "check", "--json", "--database", url_of(place))
    assert (Exit.FOUND, [known[-1].number]) == (ended.code, ended.document["migrations"]["missing"])
    cli("db", "migrate", "--database", url_of(place))
    assert Exit.OK == cli("db", "check", "--database", url_of(place)).code
    file.query(place, "INSERT INTO eventseam_migrations VALUES (999, 'future', '2026-01-01')")
    ended = cli("db", "check", "--json", "--database", url_of(place))
    assert (Exit.FOUND, [999]) == (ended.code, ended.document["migrations"]["newer"])


def test_check_tells_what_has_drifted(cli, place):
    cli("db", "migrate", "--database", url_of(place))
    file.query(place, "DROP INDEX unsettled_lane")
    file.query(place, "ALTER TABLE event_outbox ADD COLUMN tenant TEXT")
    file.query(place, "CREATE INDEX of_their_own ON event_outbox (aggregate_id)")
    ended = cli("db", "check", "--json", "--database", url_of(place))
    assert Exit.FOUND == ended.code
    found = {
        (each["level"], each["what"].split(" is ")[0].split(" not null")[0]) for each in ended.document["findings"]
    }
    drifted = {(level, what.lower()) for level, what in found if what.startswith("drifted")}
    assert {
        ("problem", "drifted: index unsettled.unsettled_lane"),
        ("note", "drifted: column event_outbox.tenant text"),
    } == drifted


def test_a_printed_script_does_what_migrate_does(cli, place):
    printed = cli("db", "sql", "--all", "--database", url_of(place))
    assert (Exit.OK, "") == (printed.code, printed.err)
    run_script(place, printed.out)
    assert expected(dialect_of(place)) == shape_of(place)
    assert [each.number for each in catalog.migrations(dialect_of(place))] == numbers(place)
    assert Exit.OK == cli("db", "check", "--database", url_of(place)).code


def test_a_printed_script_holds_what_lacks_and_runs_once(cli, place, monkeypatch):
    make_previous(place, monkeypatch)
    printed = cli("db", "sql", "--database", url_of(place)).out
    assert "ground" not in printed
    run_script(place, printed)
    assert expected(dialect_of(place)) == shape_of(place)
    with pytest.raises((sqlite3.Error, psycopg.Error)):
        run_script(place, printed)
    assert "Nothing lacks" in cli("db", "sql", "--database", url_of(place)).out


def test_a_printed_script_that_runs_a_second_time_says_so(cli, postgres_url):
    printed = cli("db", "sql", "--all", "--database", postgres_url).out
    script(postgres_url, printed)
    with pytest.raises(psycopg.Error, match="this script has been applied"):
        script(postgres_url, printed)


def test_a_printed_script_is_one_json_document_for_programs(cli, place):
    document = cli("db", "sql", "--all", "--json", "--database", url_of(place)).document
    assert ["ground"] == [each["name"] for each in document["migrations"]][:1]
    assert document["script"].rstrip().endswith("COMMIT;")


def test_check_of_nothing_says_migrate(cli, postgres_url, tmp_path):
    assert "eventseam db migrate" in cli("db", "check", "--database", postgres_url).out
    assert Exit.STORAGE == cli("db", "check", "--database", f"sqlite:///{tmp_path}/none").code


def gauges(cli, url, *words):
    ended = cli("db", "check", "--json", "--database", url, *words)
    return ended.code, [(each["kind"], each["pid"], each["application"]) for each in ended.document["gauges"]]


def test_check_names_whoever_holds_a_snapshot_or_a_position(cli, postgres_url):
    cli("db", "migrate", "--database", postgres_url)
    with connect(postgres_url, "the report") as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("INSERT INTO positions (reader, slot) VALUES ('x', 0)")
        assert (Exit.OK, []) == gauges(cli, postgres_url)
        code, found = gauges(cli, postgres_url, "--older-than", "0")
        pid = other.info.backend_pid
        ours = [each for each in found if each[1] == pid]
        assert Exit.FOUND == code
        assert [("old transaction", pid, "the report"), ("lock on positions", pid, "the report")] == ours


def test_check_names_forgotten_prepared_transactions_and_settings_that_endanger(cli):
    with postgres(settings={"max_prepared_transactions": "5", "fsync": "off", "max_connections": "45"}) as server:
        url = server.database("prepared")
        cli("db", "migrate", "--database", url)
        script(url, "BEGIN; INSERT INTO positions (reader, slot) VALUES ('x', 0); PREPARE TRANSACTION 'forgotten';")
        ended = cli("db", "check", "--older-than", "0", "--json", "--database", url)
        prepared = [each for each in ended.document["gauges"] if each["kind"] == "prepared transaction"]
        assert ["forgotten"] == [each["application"] for each in prepared]
        assert "ROLLBACK PREPARED 'forgotten'" in prepared[0]["detail"]
        assert [("problem", "fsync"), ("note", "max_connections")] == [
            (each["level"], each["what"].split()[0]) for each in ended.document["findings"]
        ]
        script(url, "ROLLBACK PREPARED 'forgotten'")


@pytest.fixture
def role(postgres_url):
    """The name and the URL of a role that may do nothing yet."""
    name = f"role_{Seams().ids.new()[-12:]}"
    script(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    parts = urlsplit(postgres_url)
    yield name, urlunsplit(parts._replace(netloc=f"{name}:x@{parts.netloc.rpartition('@')[2]}"))
    script(postgres_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def findings(cli, url):
    return {each["what"]: each["fix"] for each in cli("db", "check", "--json", "--database", url).document["findings"]}


def test_check_names_the_rights_that_a_role_lacks_and_the_grants(cli, postgres_url, role):
    cli("db", "migrate", "--database", postgres_url)
    name, url = role
    script(postgres_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    told = findings(cli, url)
    grant = told.pop("this role has no INSERT, DELETE on event_outbox")
    assert f"GRANT INSERT, DELETE ON event_outbox TO {name}" == grant
    sequence = told["this role has no USAGE on event_outbox_id_seq"]
    assert f"GRANT USAGE ON SEQUENCE event_outbox_id_seq TO {name}" == sequence
    assert "this role cannot see since when other roles' transactions run" in told
    script(
        postgres_url, "; ".join(fix for what, fix in told.items() if what.startswith("this role has")) + "; " + grant
    )
    assert not [what for what in findings(cli, url) if what.startswith("this role has")]


def test_check_of_a_role_without_any_right_says_which_ones_lack(cli, postgres_url, role):
    name, url = role
    told = findings(cli, url)
    fix = told["there are no Eventseam tables, and this role may make none in the schema public"]
    assert fix.startswith(f"GRANT CREATE ON SCHEMA public TO {name}, then eventseam db migrate")
    assert "there are no Eventseam tables" not in told
    cli("db", "migrate", "--database", postgres_url)
    assert (
        f"GRANT SELECT ON eventseam_migrations TO {name}"
        == findings(cli, url)["this role has no SELECT on eventseam_migrations"]
    )
    script(postgres_url, "REVOKE USAGE ON SCHEMA public FROM public")
    assert f"GRANT USAGE ON SCHEMA public TO {name}" in findings(cli, url).values()


@pytest.mark.parametrize("command", ["lag", "outbox", "dlq list", "db migrate", "db sql"])
def test_a_command_of_a_role_without_rights_names_the_role_and_the_grant(cli, postgres_url, role, command):
    cli("db", "migrate", "--database", postgres_url)
    name, url = role
    ended = cli(*command.split(), "--database", url)
    assert Exit.STORAGE == ended.code
    assert f"TO {name}" in ended.err
    assert "GRANT SELECT ON eventseam_" in ended.err


def test_migrating_without_the_right_to_create_names_the_role_and_the_grant(cli, role):
    name, url = role
    ended = cli("db", "migrate", "--database", url)
    assert Exit.STORAGE == ended.code
    assert f"GRANT USAGE, CREATE ON SCHEMA public TO {name}" in ended.err


def start(url):
    """What an app ends with that starts on a database."""
    service = ears()
    on_loop(service, lambda message: None)

    async def run():
        async with App(service, settings=Settings(database=url)).running():
            pass

    with pytest.raises(StorageError) as caught:
        asyncio.run(run())
    return str(caught.value)


def test_an_app_that_starts_without_rights_names_the_role_and_the_grant(cli, postgres_url, role):
    name, url = role
    assert f"GRANT USAGE, CREATE ON SCHEMA public TO {name}" in start(url)
    cli("db", "migrate", "--database", postgres_url)
    assert f"GRANT SELECT ON eventseam_journal TO {name}" in start(url)
    script(postgres_url, f"GRANT SELECT ON eventseam_journal, eventseam_migrations TO {name}")
    assert f"permission denied for schema public, for the role {name!r}" in start(url)  # for the service's own table
    script(postgres_url, f"GRANT CREATE ON SCHEMA public TO {name}")
    assert f"GRANT SELECT, INSERT, UPDATE, DELETE ON positions TO {name}" in start(url)


def in_schemas(url, *names):
    return f"{url}?options=-csearch_path%3D{','.join(names)}"


@pytest.fixture
def ship(postgres_url):
    """A database with the schema `ship` beside `public`."""
    script(postgres_url, "CREATE SCHEMA ship")
    return postgres_url


def test_two_journals_in_a_search_path_are_refused_by_both_names(cli, ship):
    for names in (["ship"], ["public"]):
        assert Exit.OK == cli("db", "migrate", "--database", in_schemas(ship, *names)).code
    both = in_schemas(ship, "ship", "public")
    for command in ("db migrate", "lag", "outbox", "db sql"):
        ended = cli(*command.split(), "--database", both)
        assert Exit.STORAGE == ended.code
        assert "'public', and the journal's schema is 'ship'" in ended.err
        assert "leave one of them out" in ended.err.lower()
    ended = cli("db", "check", "--json", "--database", both)
    assert (Exit.FOUND, "problem") == (ended.code, ended.document["findings"][0]["level"])
    assert "'public', and the journal's schema is 'ship'" in ended.document["findings"][0]["what"]


@pytest.mark.parametrize("is_migrated", [False, True])
def test_a_name_of_ours_in_an_earlier_schema_is_refused(cli, ship, is_migrated):
    if is_migrated:
        cli("db", "migrate", "--database", ship)
    script(ship, "CREATE TABLE ship.positions (id int, name text)")
    both = in_schemas(ship, "ship", "public")
    ended = cli("db", "migrate", "--database", both)
    assert Exit.STORAGE == ended.code
    assert "'positions' is in the schema 'ship', and the journal's schema is 'public'" in ended.err
    assert any("'positions' is in the schema 'ship'" in what for what in findings(cli, both))


def test_a_schema_of_its_own_before_that_of_the_journal_is_all_right(cli, ship):
    script(ship, "CREATE TABLE ship.parcels (id int); CREATE SCHEMA email; CREATE TABLE email.positions (id int)")
    both = in_schemas(ship, "ship", "public", "pg_temp")
    assert Exit.OK == cli("db", "migrate", "--database", both).code
    assert Exit.OK == cli("lag", "--database", both).code
    assert Exit.OK == cli("db", "check", "--database", both).code


@pytest.mark.parametrize("schema", ["pg_temp", "pg_catalog", "nowhere"])
def test_a_search_path_without_a_schema_for_tables_is_an_error_with_the_fix(cli, postgres_url, schema):
    ended = cli("db", "migrate", "--database", in_schemas(postgres_url, schema))
    assert Exit.STORAGE == ended.code
    assert "correct ?options=-csearch_path" in ended.err


def test_check_and_sql_name_a_table_of_another_program(cli, postgres_url):
    script(postgres_url, "CREATE TABLE event_outbox (id int)")
    assert any("belongs to another program" in what for what in findings(cli, postgres_url))
    ended = cli("db", "sql", "--database", postgres_url)
    assert Exit.STORAGE == ended.code
    assert "belongs to another program" in ended.err


def test_check_wants_one_row_that_names_the_cluster(cli, postgres_url):
    cli("db", "migrate", "--database", postgres_url)
    script(postgres_url, "DELETE FROM eventseam_journal")
    assert any("eventseam_journal has 0 rows" in what for what in findings(cli, postgres_url))


def test_check_notes_a_database_that_is_meant_to_be_read_only(cli, postgres_url):
    cli("db", "migrate", "--database", postgres_url)
    script(postgres_url, f"ALTER DATABASE {urlsplit(postgres_url).path[1:]} SET default_transaction_read_only = on")
    assert any("default_transaction_read_only is on: Eventseam writes" in what for what in findings(cli, postgres_url))
    assert Exit.OK == cli("db", "check", "--database", postgres_url).code
