"""What every store makes of statements and of their values. See suite."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from eventseam import EventseamError
from tests.storage.suite import INSERT, Bench, contents

if TYPE_CHECKING:
    pass


class Colour(enum.Enum):
    """Not a value that a database knows."""

    RED = "red"


async def many_writes_every_row_in_order(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    for count in (0, 1, 3, 4, 5, 24, 25, 26, 77, 500):
        rows = [(n, f"row {n}") for n in range(count)]
        await way(bench.store, lambda sql: sql.rows("DELETE FROM t"))
        await way(bench.store, lambda sql, rows=rows: sql.many(INSERT, rows))
        assert rows == await contents(bench.store)


async def many_of_a_statement_that_is_no_plain_insert_runs_row_by_row(bench: Bench, way) -> None:
    statements = (
        "INSERT INTO t (b, a) VALUES ($2, $1)",
        "INSERT INTO t (a, b) VALUES ($1, lower($2))",
        "INSERT INTO t (a, b) SELECT CAST($1 AS integer), CAST($2 AS text)",
        "INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    rows = [(n, f"row {n}") for n in range(30)]
    await bench.store.migrate([bench.table])
    for statement in statements:
        await way(bench.store, lambda sql: sql.rows("DELETE FROM t"))
        await way(bench.store, lambda sql, statement=statement: sql.many(statement, rows))
        assert rows == await contents(bench.store)


async def many_refuses_a_row_with_too_few_or_too_many_values_and_keeps_none(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    good = [(n, str(n)) for n in range(60)]
    for bad in ((1,), (1, "2", 3)):
        for rows in ([*good, bad], [bad, *good], [bad]):
            with pytest.raises((*bench.errors, EventseamError)):
                await way(bench.store, lambda sql, rows=rows: sql.many(INSERT, rows))
    assert [] == await contents(bench.store)


async def many_fails_as_a_whole_at_the_row_that_does_not_fit(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table, "CREATE TABLE strict_t (a integer NOT NULL);"])
    rows = [(None if n == 30 else n,) for n in range(60)]
    with pytest.raises(bench.errors):
        await way(bench.store, lambda sql: sql.many("INSERT INTO strict_t (a) VALUES ($1)", rows))
    found = await bench.store.read(lambda sql: sql.rows("SELECT count(*) AS n FROM strict_t"))
    assert 0 == found[0]["n"]


async def rows_of_a_users_sql_are_read_by_name_and_by_position(bench: Bench, way) -> None:
    row = (await way(bench.store, lambda sql: sql.rows("SELECT 1 AS one, 'x' AS two")))[0]
    assert (1, 1, "x", "x") == (row[0], row["one"], row[1], row["two"])
    assert ["one", "two"] == list(row.keys())
    assert [1, "x"] == list(row)
    assert 2 == len(row)
    with pytest.raises((KeyError, IndexError)):
        row["three"]


async def a_dollar_inside_a_text_or_a_comment_is_no_parameter(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    statement = "INSERT INTO t (a, b) VALUES ($1, '$2 ''$3''') -- $4"
    await way(bench.store, lambda sql: sql.changed(statement, 1))
    assert [(1, "$2 '$3'")] == await contents(bench.store)


async def a_percent_sign_is_itself(bench: Bench, way) -> None:
    rows = await way(
        bench.store, lambda sql: sql.rows("SELECT '100%' AS a, '%s' AS b, 7 % CAST($1 AS integer) AS c", 4)
    )
    assert ("100%", "%s", 3) == tuple(rows[0])


async def parameters_may_be_used_twice_and_in_any_order(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    statement = "INSERT INTO t (b, a) VALUES ($2 || $2, $1)"
    await way(bench.store, lambda sql: sql.changed(statement, 1, "x"))
    assert [(1, "xx")] == await contents(bench.store)


async def what_a_text_column_is_given_is_kept_as_its_exact_text(bench: Bench, way) -> None:
    values = {
        Decimal("1.10"): "1.10",
        UUID(int=5): "00000000-0000-0000-0000-000000000005",
        Colour.RED: "red",
        17: "17",
        "": "",
        "naïve \U0001f600": "naïve \U0001f600",
        None: None,
    }
    await bench.store.migrate([bench.table])
    for value in values:
        await way(bench.store, lambda sql, value=value: sql.changed(INSERT, 1, value))
    await way(bench.store, lambda sql: sql.many(INSERT, [(2, value) for value in values]))
    assert [*values.values(), *values.values()] == [b for _, b in await contents(bench.store)]


async def numbers_may_be_given_as_text_and_decimals_stay_exact(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    statement = "INSERT INTO t (a, c) VALUES ($1, $2)"
    await way(bench.store, lambda sql: sql.changed(statement, "41", Decimal("0.10")))
    await way(bench.store, lambda sql: sql.changed(statement, True, "0.10"))
    await way(bench.store, lambda sql: sql.changed(statement, 2**53 + 1, 0.1))
    found = await bench.store.read(lambda sql: sql.rows("SELECT a, c FROM t ORDER BY id"))
    assert [41, 1, 2**53 + 1] == [row[0] for row in found]
    assert [Decimal("0.1")] * 3 == [Decimal(str(row[1])) for row in found]


async def a_key_is_found_by_the_value_it_was_written_with(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    for value in (5, "5", UUID(int=7), Decimal("1.50"), Colour.RED):
        await way(bench.store, lambda sql, value=value: sql.changed(INSERT, 1, value))
        found = await way(bench.store, lambda sql, value=value: sql.rows("SELECT b FROM t WHERE b = $1", value))
        assert found
