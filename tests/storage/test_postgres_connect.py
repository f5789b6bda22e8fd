"""What is refused when a connection to PostgreSQL is opened, and how its URL is read: the same for both drivers."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from eventseam import Seams, SettingsError, StorageError, StorageUnavailable
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from eventseam.storage.postgres_connect import refused, verify
from eventseam.storage.postgres_url import address_of
from tests.storage.suite import WAYS, by_transaction, by_write, in_thread
from tests.support.postgres import query
from tests.support.proxy import Proxy

KEY_DATA = b"K\x00\x00\x00\x0c"
GOOD = (150_004, False, 77, "UTF8", "1", True)


async def fails(url, kind, match, options=None):
    """Both drivers refuse in the same words, and never with the password."""
    for way in (by_write, in_thread):
        store = PostgresStore(url, Seams(), options)
        with pytest.raises(kind, match=match) as caught:
            await way(store, lambda sql: sql.rows("SELECT 1 AS n"))
        assert (urlsplit(url).password or "-none-") not in str(caught.value)
        assert type(caught.value) is kind
        await store.close()


def with_password(url, password):
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}").geturl()


async def test_a_wrong_password_is_an_error_at_first_and_trouble_later(postgres_url):
    await fails(with_password(postgres_url, "not-the-password"), StorageError, "Check the password in the URL")
    store = PostgresStore(postgres_url, Seams())
    await store.read(lambda sql: sql.rows("SELECT 1 AS n"))
    assert isinstance(refused(store._address, asyncpg.InvalidPasswordError("no"), known=True), StorageUnavailable)
    await store.close()


async def test_a_database_that_is_not_there_is_an_error_that_says_how_to_make_it(postgres_url):
    await fails(f"{postgres_url}_not", StorageError, "Create the database first: createdb")


async def test_a_server_that_is_not_there_is_trouble_that_names_the_place():
    await fails("postgresql://me:secret@127.0.0.1:1/shop", StorageUnavailable, "127.0.0.1:1/shop")


async def test_a_setting_in_the_url_that_the_server_refuses_is_told_apart_from_trouble(postgres_url):
    await fails(f"{postgres_url}?options=-cnosuch%3D1", SettingsError, r"\"nosuch\".*Correct \?options=")
    await fails(f"{postgres_url}?sslmode=require", StorageError, "SSL.*another sslmode")


async def test_a_journal_of_another_cluster_is_refused_until_it_is_rebased(postgres_url):
    store = PostgresStore(postgres_url, Seams())
    await store.migrate()
    await store.close()
    query(postgres_url, "UPDATE eventseam_journal SET cluster = '42'")
    await fails(postgres_url, StorageError, "written in the cluster 42.*eventseam journal rebase")
    rebasing = PostgresStore(postgres_url, Seams(), PostgresOptions(checks_cluster=False))
    await rebasing.write(lambda sql: sql.rows("SELECT 1 AS n"))
    await rebasing.close()


async def test_a_database_of_another_encoding_is_refused(postgres_url, postgres_server):
    name = urlsplit(postgres_url).path[1:] + "_latin"
    query(postgres_url, f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        await fails(postgres_server.url_of(name), StorageError, "encoding LATIN1. Create one with ENCODING 'UTF8'")
    finally:
        postgres_server.drop(name)


@pytest.mark.parametrize(
    "who, kind, told",
    [
        ((140_011, *GOOD[1:]), StorageError, "PostgreSQL 14 is too old"),
        ((150_004, True, *GOOD[2:]), StorageUnavailable, "a standby.*URL of the primary"),
        ((150_004, False, 78, *GOOD[3:]), StorageError, "pooler.*server's own port"),
        ((150_004, False, 77, "SQL_ASCII", "1", True), StorageError, "encoding SQL_ASCII"),
    ],
)
def test_what_a_server_must_not_be(who, kind, told):
    with pytest.raises(kind, match=told) as caught:
        verify("shop", who, 77)
    assert type(caught.value) is kind


class Pooler(Proxy):
    """Names another process than the one that serves, as PgBouncer does."""

    async def _pump(self, source, sink, gate):
        while chunk := await source.read(65_536):
            at = chunk.find(KEY_DATA)
            if at >= 0:
                pid = at + len(KEY_DATA)
                chunk = chunk[:pid] + b"\x7f\x00\x00\x01" + chunk[pid + 4 :]
            sink.write(chunk)
            await sink.drain()
        sink.write_eof()


async def test_a_pooler_in_between_is_refused_by_both_drivers(postgres_url):
    with Pooler(urlsplit(postgres_url).port) as pooler:
        await fails(pooler.url(postgres_url), StorageError, "a pooler answers here.*server's own port")


def test_a_pooler_that_refuses_our_settings_is_named():
    address = address_of("postgresql://db/shop")
    error = asyncpg.ProtocolViolationError("unsupported startup parameter: statement_timeout")
    assert "a pooler answers here" in str(refused(address, error, known=True))


async def test_sessions_have_our_limits_and_our_names(postgres_url):
    wanted = {
        "statement_timeout": "30s",
        "lock_timeout": "5s",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "DateStyle": "ISO, MDY",
        "default_transaction_isolation": "read committed",
    }
    names = [*wanted, "application_name", "idle_in_transaction_session_timeout"]

    async def settings(sql):
        return {name: (await sql.rows("SELECT current_setting($1) AS v", name))[0]["v"] for name in names}

    store = PostgresStore(f"{postgres_url}?application_name=shop", Seams())
    for way in WAYS:
        found = await way(store, settings)
        name, idle = found.pop("application_name"), found.pop("idle_in_transaction_session_timeout")
        assert wanted == found
        role = {by_write: "write", by_transaction: "tx", in_thread: "handler"}[way]
        assert f"eventseam:{role} shop" == name
        assert ("5s" if way is by_write else "1min") == idle
    await store.close()
    hasty = PostgresStore(postgres_url, Seams(), PostgresOptions(durability="normal"))
    for way in WAYS:
        rows = await way(hasty, lambda sql: sql.rows("SELECT current_setting('synchronous_commit') AS v"))
        assert "off" == rows[0]["v"]
    await hasty.close()


async def test_a_service_in_a_schema_of_its_own_shares_the_journal(postgres_url):
    query(postgres_url, "CREATE SCHEMA payments")
    options = quote("-csearch_path=payments,public")
    own = PostgresStore(f"{postgres_url}?options={options}", Seams())
    await own.migrate(["CREATE TABLE IF NOT EXISTS paid (a int);"])
    shared = PostgresStore(postgres_url, Seams())
    await shared.migrate()
    tables = query(
        postgres_url,
        "SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('event_outbox', 'paid') ORDER BY 2",
    )
    assert [("public", "event_outbox"), ("payments", "paid")] == tables
    for way in WAYS:
        await way(own, lambda sql: sql.changed("INSERT INTO paid (a) VALUES ($1)", 1))
        await way(own, lambda sql: sql.rows("retrying_rows"))
    await own.close()
    await shared.close()


async def test_a_database_of_another_program_or_of_a_newer_version_is_refused(postgres_url):
    query(postgres_url, "CREATE TABLE positions (a int)")
    store = PostgresStore(postgres_url, Seams())
    with pytest.raises(StorageError, match=r"belongs to another program.*'positions'"):
        await store.migrate()
    query(postgres_url, "DROP TABLE positions")
    await store.migrate()
    query(postgres_url, "INSERT INTO eventseam_migrations VALUES (9999, 'later', now())")
    with pytest.raises(StorageError, match="migration 9999"):
        await store.migrate()
    await store.close()


async def test_a_script_that_ends_the_transaction_is_refused(postgres_url):
    store = PostgresStore(postgres_url, Seams())
    with pytest.raises(StorageError, match="leave COMMIT and ROLLBACK out"):
        await store.migrate(["CREATE TABLE x (a int); ROLLBACK;"])
    assert [(None,)] == query(postgres_url, "SELECT to_regclass('x')")
    await store.close()


@pytest.mark.parametrize(
    "url, shown",
    [
        ("postgresql://me:p%40ss@db.example:6432/shop?sslmode=require", "postgresql db.example:6432/shop"),
        ("postgres://db/shop", "postgresql db/shop"),
        ("postgresql:///shop?host=/run/postgresql&user=me", "postgresql /run/postgresql/shop"),
        ("postgresql://a:1,b:2/shop?target_session_attrs=read-write", "postgresql a,b:1,2/shop"),
        ("postgresql://me@[::1]:5433/shop?connect_timeout=3&keepalives=1", "postgresql ::1:5433/shop"),
    ],
)
def test_urls_are_read_as_libpq_reads_them(url, shown):
    assert shown == address_of(url).shown


@pytest.mark.parametrize(
    "url, told",
    [
        ("postgresql://me:secret@db/shop?nonsense=1", "'nonsense', which libpq does not know"),
        ("postgresql://me:secret@db/shop?passwrd=secret", "'passwrd'"),
        ("postgresql://me:secret@db/shop?search_path=public", r"\?options=-csearch_path%3Dshop,public"),
        ("postgresql://me:secret%ZZ@db/shop", "write %25 for %"),
        ("postgresql://me:my secret@db/shop", "%20 for a space"),
        ("postgresql://me:secret@db:99999/shop", "from 1 to 65535"),
        ("postgresql://me:12/secret@db/shop", "%2F for /"),
        ("postgresql://me:secret@db/shop#frag", "%23"),
        ("postgresql:/me:secret@db/shop", "lacks its //"),
        ("postgresql://me:secret@db/shop?sslmode=yes", "sslmode.*verify-full"),
        ("postgresql://me:secret@db/shop?target_session_attrs=bogus", "target_session_attrs.*read-write"),
        ("postgresql://me:secret@db/shop?connect_timeout=abc", "connect_timeout"),
        ("postgresql://me:secret@db:port/shop", "port"),
        ("postgresql://me:secret@db/shop?channel_binding=require", "sslmode=verify-full"),
        ("postgresql://me:secret@db/shop?service=x", "service=…"),
    ],
)
def test_urls_that_cannot_be_honoured_are_refused_without_repeating_a_secret(url, told):
    with pytest.raises(SettingsError, match=told) as caught:
        PostgresStore(url, Seams())
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_store_opens_nothing_before_its_first_operation():
    PostgresStore("postgresql://nobody@nowhere.invalid/shop", Seams())
