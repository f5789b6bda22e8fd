"""What cannot be published on is refused in words, and a user's connection stays as it was."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import asyncpg
import psycopg
import pytest
from django.db import transaction
from django.db.utils import IntegrityError
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from eventseam import ContractError, NotInTransaction, Overloaded, StorageUnavailable, TooLarge, WiringError
from tests.guests.kinds import INSERT, Django, DjangoSqlite, SaAsyncConnection, to
from tests.guests.shop import Asked, OrderPlaced, orders, path_of, placed, published, query

PLACED = OrderPlaced("o1")


@pytest.mark.parametrize("thing", [object(), "postgresql://localhost/shop", None, psycopg, sqlite3.Cursor])
def test_what_is_no_connection_is_named(thing):
    with pytest.raises(WiringError, match="cannot publish on a "):
        orders.publish(thing, PLACED)


async def test_a_connection_that_must_be_awaited_says_how(journal_url):
    connection = await asyncpg.connect(journal_url)
    with pytest.raises(WiringError, match=r"await service\.publish_async"):
        orders.publish(connection, PLACED)
    await connection.close()
    kind = SaAsyncConnection()
    await kind.open(journal_url)
    with pytest.raises(WiringError, match="AsyncConnection"):
        orders.publish(kind.own, PLACED)
    await kind.close()


async def test_publish_async_takes_the_blocking_kinds_too(journal_url, journal_file):
    with psycopg.connect(journal_url) as connection:
        await orders.publish_async(connection, PLACED)
    with closing(sqlite3.connect(path_of(journal_file))) as connection, connection:
        await orders.publish_async(connection, PLACED)
    assert ["o1"] == published(journal_url) == published(journal_file)


def test_a_transaction_that_has_failed_says_so(journal_url):
    with psycopg.connect(journal_url) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT nothing")
        with pytest.raises(NotInTransaction, match="has failed before"):
            orders.publish(connection, PLACED)
        connection.rollback()
        orders.publish(connection, PLACED)
    assert ["o1"] == published(journal_url)


async def test_a_transaction_of_asyncpg_that_has_failed_says_so(journal_url):
    connection = await asyncpg.connect(journal_url)
    own = connection.transaction()
    await own.start()
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute("SELECT nothing")
    with pytest.raises(NotInTransaction, match="has failed before"):
        await orders.publish_async(connection, PLACED)
    await own.rollback()
    await connection.close()


async def test_a_closed_connection_says_so(journal_url):
    with psycopg.connect(journal_url) as connection:
        pass
    with pytest.raises(StorageUnavailable, match="closed or broken"):
        orders.publish(connection, PLACED)
    other = await asyncpg.connect(journal_url)
    await other.close()
    with pytest.raises(StorageUnavailable, match="is closed"):
        await orders.publish_async(other, PLACED)


async def test_a_database_without_a_journal_says_so(postgres_url, tmp_path):
    with psycopg.connect(postgres_url) as connection, pytest.raises(WiringError, match="sees no journal yet"):
        orders.publish(connection, PLACED)
    with (
        closing(sqlite3.connect(tmp_path / "db")) as connection,
        pytest.raises(WiringError, match="sees no journal yet"),
    ):
        orders.publish(connection, PLACED)
    connection = await asyncpg.connect(postgres_url)
    with pytest.raises(WiringError, match="sees no journal yet"):
        async with connection.transaction():
            await orders.publish_async(connection, PLACED)
    await connection.close()


def test_a_transaction_that_only_reads_says_so(journal_url):
    with psycopg.connect(journal_url) as connection:
        connection.read_only = True
        with pytest.raises(NotInTransaction, match="only reads"):
            orders.publish(connection, PLACED)
        connection.rollback()


def test_a_connection_that_cannot_hold_a_text_says_so(journal_url):
    with psycopg.connect(journal_url, client_encoding="latin1") as connection:
        with pytest.raises(ContractError, match="client_encoding=UTF8"):
            orders.publish(connection, OrderPlaced("\u20ac"))
        connection.rollback()


@pytest.mark.parametrize("flow, error", [("", ContractError), ("a\0", ContractError), ("x" * 4097, TooLarge)])
def test_a_correlation_id_that_cannot_be_kept_is_refused_before_the_database_sees_it(journal_url, flow, error):
    with psycopg.connect(journal_url) as connection:
        with pytest.raises(error, match="correlation_id"):
            orders.publish(connection, PLACED, correlation_id=flow)
        orders.publish(connection, PLACED, correlation_id="ß" * 2048)
    assert 1 == len(published(journal_url))


def test_the_users_own_factories_stay_and_are_not_used(journal_url):
    with psycopg.connect(journal_url, row_factory=dict_row, cursor_factory=psycopg.ClientCursor) as connection:
        orders.publish(connection, Asked("o1"))
        assert {"one": 1} == connection.execute("SELECT 1 AS one").fetchone()
        assert isinstance(connection.cursor(), psycopg.ClientCursor)
    assert ["o1"] == published(journal_url)


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_pipeline_publishes_in_order(journal_url, autocommit):
    own = psycopg.connect(journal_url, autocommit=autocommit)
    with own, own.pipeline(), own.transaction():
        for order_id in ("o1", "o2"):
            own.execute(INSERT.format(order_id))
            orders.publish(own, OrderPlaced(order_id))
    assert ["o1", "o2"] == published(journal_url) == placed(journal_url)


def test_a_pipeline_in_autocommit_needs_a_transaction(journal_url):
    with psycopg.connect(journal_url, autocommit=True) as connection, connection.pipeline():
        connection.execute(INSERT.format("o1"))
        with pytest.raises(NotInTransaction, match="autocommit"):
            orders.publish(connection, PLACED)
    assert [] == published(journal_url)


def test_in_a_pipeline_an_error_of_ours_is_raised_by_publish(postgres_url):
    with psycopg.connect(postgres_url) as connection, connection.pipeline():
        with pytest.raises(WiringError, match="sees no journal yet"):
            orders.publish(connection, PLACED)
        connection.rollback()


async def test_an_async_pipeline_works_too(journal_url):
    async with await psycopg.AsyncConnection.connect(journal_url) as connection, connection.pipeline():
        await connection.execute(INSERT.format("o1"))
        await orders.publish_async(connection, PLACED)
        await orders.publish_async(connection, Asked("o2"))
    assert ["o1", "o2"] == published(journal_url)


def test_keys_and_bodies_may_hold_what_means_something_to_a_driver(journal_url):
    odd = "100%s $1 :p1 %(p1)s {ann}'; -- ö"
    with psycopg.connect(journal_url) as connection:
        orders.publish(connection, OrderPlaced(odd, note="\0"))  # which jsonb cannot hold
    engine = create_engine(to(journal_url, "psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        orders.publish(connection, OrderPlaced(odd, note="100%"))
    engine.dispose()
    note = "SELECT aggregate_id, payload ->> 'note', body IS NULL"
    assert [(odd, None, False), (odd, "100%", True)] == query(
        journal_url, f"{note} FROM event_outbox ORDER BY position"
    )


@pytest.mark.parametrize("database", ["journal_file", "journal_url"])
def test_a_full_channel_is_counted_anew_before_anybody_is_refused(request, database):
    url = request.getfixturevalue(database)
    with closing(sqlite3.connect(path_of(url)) if database == "journal_file" else psycopg.connect(url)) as connection:
        for ending in (connection.rollback, connection.commit):
            for n in range(3):
                orders.publish(connection, Asked(f"o{n}"))
            ending()
        with pytest.raises(Overloaded, match="'few' is at its limit"):
            orders.publish(connection, Asked("o4"))
    assert ["o0", "o1", "o2"] == published(url)


async def test_djangos_block_that_will_be_rolled_back_says_so(journal_url):
    kind = Django()
    await kind.open(journal_url)

    def act():
        with pytest.raises(IntegrityError), transaction.atomic(using=kind.alias):  # noqa: PT012 - the block raises at its end
            kind.own.cursor().execute(INSERT.format("o1"))
            inner = transaction.atomic(using=kind.alias, savepoint=False)
            with pytest.raises(IntegrityError), inner:  # caught inside, as one should not
                kind.own.cursor().execute(INSERT.format("o1"))
            with pytest.raises(NotInTransaction, match="will be rolled back"):
                orders.publish(kind.own, PLACED)
            raise IntegrityError

    await kind.there(act)
    await kind.close()
    assert [] == published(journal_url) == placed(journal_url)


async def test_django_without_autocommit_needs_no_atomic_block(journal_url):
    kind = Django()
    await kind.open(journal_url)

    def act():
        kind.own.set_autocommit(False)
        orders.publish(kind.own, PLACED)
        kind.own.commit()

    await kind.there(act)
    await kind.close()
    assert ["o1"] == published(journal_url)


async def test_djangos_deferred_transaction_on_sqlite_names_the_setting(journal_file):
    kind = DjangoSqlite()
    await kind.open(journal_file)
    await kind.begin()
    with pytest.raises(NotInTransaction, match="'transaction_mode': 'IMMEDIATE'"):
        await kind.publish("o1")
    await kind.rollback()
    kind.own.settings_dict["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
    await kind.there(kind.own.close)
    await kind.begin()
    await kind.publish("o1")
    await kind.commit()
    await kind.close()
    assert ["o1"] == published(journal_file)


def test_sqlalchemy_on_sqlite_names_the_hook_that_begins_with_the_lock(journal_file):
    from sqlalchemy import event

    engine = create_engine(to(journal_file, "pysqlite"), poolclass=NullPool)
    event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.connect() as connection, pytest.raises(NotInTransaction, match="BEGIN IMMEDIATE"):
        orders.publish(connection, PLACED)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("COMMIT"))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        orders.publish(connection, PLACED)
    engine.dispose()
    assert ["o1"] == published(journal_file)


def test_a_process_that_dies_before_its_commit_published_nothing(journal_url):
    script = """
import os, sys, psycopg
from tests.guests.shop import OrderPlaced, orders
connection = psycopg.connect(sys.argv[1])
orders.publish(connection, OrderPlaced("o1"))
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script, journal_url], check=True)
    assert [] == published(journal_url)


def test_no_library_is_loaded_that_the_user_has_not_loaded():
    script = """
import sqlite3, sys, tempfile
from eventseam import Channel, Service, WiringError
from dataclasses import dataclass
c = Channel("c", key="k")
@c.event("c.e")
@dataclass
class E:
    k: str
for thing in (sqlite3.connect(":memory:"), object()):
    try:
        Service("s").publish(thing, E("k"))
    except WiringError:
        pass
print(sorted({"psycopg", "asyncpg", "sqlalchemy", "django", "asyncio"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "[]" == done.stdout.strip()
