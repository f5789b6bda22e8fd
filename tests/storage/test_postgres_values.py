"""Values reach a PostgreSQL column in the column's type, whichever driver carries them and however they were given."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import asyncpg
import psycopg
import pytest

from eventseam import Seams
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from eventseam.storage.postgres_binding import count_of, plain_insert
from eventseam.storage.postgres_values import array_text, as_text
from tests.storage.suite import WAYS

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
PLUS2 = timezone(timedelta(hours=2))


class Mood(enum.Enum):
    """Also a type of the database."""

    FINE = "fine"


class Level(enum.IntEnum):
    """An integer with a name."""

    HIGH = 3


CASES = [
    ("text", "x", "x"),
    ("text", 7, "7"),
    ("text", Decimal("1.10"), "1.10"),
    ("text", UUID(int=1), str(UUID(int=1))),
    ("text", Mood.FINE, "fine"),
    ("text", Level.HIGH, "3"),
    ("text", {"a": [1, None]}, '{"a":[1,null]}'),
    ("text", NOON, "2024-02-29T12:00:00+00:00"),
    ("text", date(2024, 2, 29), "2024-02-29"),
    ("varchar(3)", "abc", "abc"),
    ("char(3)", "a", "a  "),
    ("integer", 7, 7),
    ("integer", "7", 7),
    ("integer", Level.HIGH, 3),
    ("integer", True, 1),
    ("bigint", 2**62, 2**62),
    ("smallint", -1, -1),
    ("boolean", True, True),
    ("boolean", 0, False),
    ("double precision", 0.1, 0.1),
    ("double precision", 3, 3.0),
    ("double precision", Decimal("0.5"), 0.5),
    ("double precision", "0.25", 0.25),
    ("double precision", float("inf"), float("inf")),
    ("numeric", Decimal("12345678901234567890.123456789"), Decimal("12345678901234567890.123456789")),
    ("numeric", 0.1, Decimal("0.1")),
    ("numeric", "0.10", Decimal("0.10")),
    ("numeric", 5, Decimal(5)),
    ("numeric(6,2)", Decimal("1.005"), Decimal("1.01")),
    ("uuid", UUID(int=5), UUID(int=5)),
    ("uuid", str(UUID(int=5)), UUID(int=5)),
    ("timestamptz", NOON, NOON),
    ("timestamptz", datetime(2024, 2, 29, 14, tzinfo=PLUS2), NOON),
    ("timestamptz", datetime(2024, 2, 29, 12), NOON),  # noqa: DTZ001 - naive on purpose
    ("timestamptz", "2024-02-29T12:00:00Z", NOON),
    ("timestamptz", "2024-02-29T14:00:00+02:00", NOON),
    ("timestamptz", "2024-02-29 12:00", NOON),
    ("timestamptz", NOON.replace(microsecond=123456), NOON.replace(microsecond=123456)),
    ("timestamp", datetime(2024, 2, 29, 14, tzinfo=PLUS2), NOON.replace(tzinfo=None)),
    ("timestamp", NOON.replace(tzinfo=None), NOON.replace(tzinfo=None)),
    ("timestamp", "2024-02-29T12:00:00", NOON.replace(tzinfo=None)),
    ("date", date(2024, 2, 29), date(2024, 2, 29)),
    ("date", "2024-02-29", date(2024, 2, 29)),
    ("date", datetime(2024, 3, 1, 1, tzinfo=PLUS2), date(2024, 2, 29)),
    ("time", time(1, 2, 3), time(1, 2, 3)),
    ("time", "01:02:03", time(1, 2, 3)),
    ("interval", timedelta(days=-1, seconds=5, microseconds=6), timedelta(days=-1, seconds=5, microseconds=6)),
    ("jsonb", {"b": 1, "a": [True, None]}, '{"a": [true, null], "b": 1}'),
    ("jsonb", [1, {"x": "\u00e9"}], '[1, {"x": "\u00e9"}]'),
    ("jsonb", '{"a":1}', '{"a": 1}'),
    ("jsonb", 5, "5"),
    ("json", {"b": 1, "a": 2}, '{"b":1,"a":2}'),
    ("bytea", b"\x00\xff", b"\x00\xff"),
    ("text[]", ["a", "b,c", 'q"\\', None, ""], ["a", "b,c", 'q"\\', None, ""]),
    ("integer[]", [1, None, 3], [1, None, 3]),
    ("integer[]", [], []),
    ("integer[]", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ("uuid[]", [UUID(int=5)], [UUID(int=5)]),
    ("mood", "fine", "fine"),
    ("mood", Mood.FINE, "fine"),
    ("xml", None, None),
]
REFUSED = [
    ("integer", "seven"),
    ("integer", 2**40),
    ("boolean", 2),
    ("uuid", "not-a-uuid"),
    ("timestamptz", "soon"),
    ("jsonb", "{"),
    ("numeric", "many"),
    ("varchar(3)", "abcd"),
    ("text", "nul \x00"),
    ("mood", "bad"),
]


@pytest.fixture(scope="module")
def values_url(postgres_server):
    name = "values_" + Seams().ids.new().replace("-", "")
    yield postgres_server.database(name)
    postgres_server.drop(name)


async def test_every_value_arrives_in_its_columns_type_in_each_way_alone_and_among_many(values_url):
    columns = [f"c{n} {kind}" for n, (kind, _, _) in enumerate(CASES)]
    made = "DROP TYPE IF EXISTS mood CASCADE; CREATE TYPE mood AS ENUM ('fine'); DROP TABLE IF EXISTS v;"
    store = PostgresStore(values_url, Seams(), PostgresOptions(durability="normal"))
    await store.migrate([f"{made} CREATE TABLE v (id bigserial, {', '.join(columns)});"])
    wrong = []
    for way in WAYS:
        for n, (kind, given, expected) in enumerate(CASES):
            insert = f"INSERT INTO v (c{n}) VALUES ($1)"

            async def operation(sql, insert=insert, given=given, n=n):
                await sql.rows("DELETE FROM v")
                await sql.changed(insert, given)
                await sql.many(insert, [(given,)] * 2)
                await sql.many(insert, [(given,), (None,)] * 3)
                await sql.many(insert, [(given,), (None,)] * 20)
                return [row[0] for row in await sql.rows(f"SELECT c{n} FROM v WHERE c{n} IS NOT NULL")]

            try:
                found = await way(store, operation)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error) as error:
                found = error
            if found != [expected] * (0 if expected is None else 26):
                wrong.append((way.__name__, kind, given, found))
    await store.close()
    assert [] == wrong


async def test_what_does_not_fit_is_refused_as_the_statements_fault(values_url):
    store = PostgresStore(values_url, Seams(), PostgresOptions(durability="normal"))
    made = "DROP TYPE IF EXISTS mood CASCADE; CREATE TYPE mood AS ENUM ('fine'); DROP TABLE IF EXISTS r;"
    columns = [f"c{n} {kind}" for n, (kind, _) in enumerate(REFUSED)]
    await store.migrate([f"{made} CREATE TABLE r (id bigserial, {', '.join(columns)});"])
    for way in WAYS:
        for n, (_, given) in enumerate(REFUSED):
            insert = f"INSERT INTO r (c{n}) VALUES ($1)"
            for run in (
                lambda sql, i=insert, g=given: sql.changed(i, g),
                lambda sql, i=insert, g=given: sql.many(i, [(g,)] * 20),
            ):
                with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error)) as caught:
                    await way(store, run)
                assert not store.is_unavailable(caught.value)
    assert 0 == (await store.read(lambda sql: sql.rows("SELECT count(*) FROM r")))[0][0]
    await store.close()


@pytest.mark.parametrize(
    "text, oids, expected",
    [
        ("INSERT INTO t (a, b) VALUES ($1, $2)", (23, 25), 'unnest($1::pg_catalog."int4"[], $2::pg_catalog."text"[])'),
        ("insert into s.t (a)\nvalues ( $1 ) on conflict (a) do nothing ;", (23,), "on conflict (a) do nothing"),
        ("INSERT INTO t (a, b) VALUES ($2, $1)", (23, 25), None),
        ("INSERT INTO t (a, b) VALUES ($1, $1)", (23,), None),
        ("INSERT INTO t (a, b) VALUES ($1, now())", (23,), None),
        ("INSERT INTO t (a, b) VALUES ($1, $2) RETURNING a", (23, 25), None),
        ("INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = 1", (23,), None),
        ("INSERT INTO t (a) VALUES ($1)", (1007,), None),
        ("INSERT INTO t (a) VALUES ($1), ($2)", (23, 23), None),
        ("INSERT INTO t VALUES ($1)", (23,), None),
        ("UPDATE t SET a = $1", (23,), None),
    ],
)
def test_only_a_plain_insert_takes_its_rows_as_columns(text, oids, expected):
    names = {23: "int4", 25: "text", 1007: "_int4"}
    insert = plain_insert(text, len(oids))
    found = insert and insert.wide(oids, [names[oid] for oid in oids])
    assert (found is None) if expected is None else (expected in found)


def test_a_wide_insert_lets_conflicts_pass_as_its_rows_would_one_by_one():
    insert = plain_insert("INSERT INTO t (a) VALUES ($1) ON CONFLICT DO NOTHING", 1)
    assert "ON CONFLICT DO NOTHING" in insert.wide((23,), ("int4",))


def test_arrays_are_written_as_postgresql_reads_them():
    assert r'{"a","q\"\\",NULL,{"1","2"},"\\x00ff"}' == array_text(["a", 'q"\\', None, [1, 2], b"\x00\xff"])


def test_a_subclass_is_written_as_what_it_is():
    class Name(str):
        __slots__ = ()

    assert "n" == as_text(Name("n"))
    assert "3" == as_text(Level.HIGH)


def test_counts_come_from_command_tags():
    assert [3, 2, 0, 0, 0] == [count_of(tag) for tag in ("INSERT 0 3", "UPDATE 2", "SELECT 5", "BEGIN", None)]
