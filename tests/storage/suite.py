"""What every store means, as plain functions over a `Bench`: a test is one of them on one driver.

`Bench.ways` are the three ways to run an operation; whatever is true of one is true of all of them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from eventseam import EventseamError, Seams
from eventseam.app.stores import open_source
from eventseam.delivery.apply import Fence, pass_fences
from eventseam.errors import Fenced
from eventseam.journal.append import append
from eventseam.journal.source import Hint
from eventseam.ports.sql import Opening, run_sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventseam.ports.sql import Operation, Sql, Store

INSERT = "INSERT INTO t (a, b) VALUES ($1, $2)"
ALL = "SELECT a, b FROM t ORDER BY id"
AT = "2026-01-02T03:04:05.678Z"


@dataclass
class Bench:
    """A driver to test. `table` makes `t (id, a integer, b text, c decimal)`; `errors` are its statements' errors."""

    make: Callable[[], Store]
    table: str
    errors: tuple[type[Exception], ...]
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = self.make()


async def by_write(store: Store, operation: Operation[Any]) -> Any:
    """One transaction, the operation's statements in it."""
    return await store.write(operation)


async def by_transaction(store: Store, operation: Operation[Any]) -> Any:
    """The same statement by statement."""
    async with store.transaction() as sql:
        return await operation(sql)


async def in_thread(store: Store, operation: Operation[Any]) -> Any:
    """The same on a blocking connection."""
    return await store.blocking(lambda sql: run_sync(operation(sql)))


WAYS: tuple[Callable[[Store, Operation[Any]], Awaitable[Any]], ...] = (by_write, by_transaction, in_thread)


async def contents(store: Store) -> list[tuple[Any, ...]]:
    """What is in `t`."""
    return [tuple(row) for row in await store.read(lambda sql: sql.rows(ALL))]


async def readers(store: Store) -> list[str]:
    """Who has positions."""
    return [row[0] for row in await store.read(lambda sql: sql.rows("all_positions"))]


# --- transactions -------------------------------------------------------------------------------------------------


async def it_commits_what_it_did(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    assert 1 == await way(bench.store, lambda sql: sql.changed(INSERT, 1, "x"))
    assert [(1, "x")] == await contents(bench.store)


async def what_raises_leaves_nothing(bench: Bench, way) -> None:
    async def operation(sql: Sql) -> None:
        await sql.changed(INSERT, 1, "x")
        raise ZeroDivisionError

    await bench.store.migrate([bench.table])
    with pytest.raises(ZeroDivisionError):
        await way(bench.store, operation)
    assert [] == await contents(bench.store)


async def a_transaction_tells_how_many_rows_its_opening_changed(bench: Bench) -> None:
    await bench.store.migrate([bench.table])
    for changed in (1, 0):  # the second time the row is there
        opening = Opening("new_position", ("the reader's", 0))
        async with bench.store.transaction(opening) as sql:
            assert changed == opening.changed
            await sql.changed(INSERT, 1, "x")
    for changed in (1, 0):
        opening = Opening("new_position", ("back\\slash", 0))
        assert changed == await bench.store.blocking(lambda _, opening=opening: opening.changed, opening)
    assert ["back\\slash", "the reader's"] == await readers(bench.store)
    assert 2 == len(await contents(bench.store))


async def what_raises_takes_its_opening_with_it(bench: Bench) -> None:
    await bench.store.migrate([bench.table])

    def body(_: Sql) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with bench.store.transaction(Opening("new_position", ("a", 0))) as sql:
            body(sql)
    with pytest.raises(ZeroDivisionError):
        await bench.store.blocking(body, Opening("new_position", ("a", 0)))
    assert [] == await readers(bench.store)


async def what_was_appended_is_there_for_the_next_statement(bench: Bench, way) -> None:
    async def operation(sql: Sql) -> int:
        await sql.many("append", [message(0)])
        await sql.many("append", [message(1), message(2)])
        return (await sql.rows("SELECT count(*) FROM event_outbox"))[0][0]

    await bench.store.migrate([bench.table])
    await positions(bench.store)
    assert 3 == await way(bench.store, operation)
    assert 3 == len(await drain(bench.store))


async def what_was_appended_goes_when_the_rest_raises(bench: Bench, way) -> None:
    async def operation(sql: Sql) -> None:
        await sql.many("append", [message(0)])
        raise ZeroDivisionError

    await bench.store.migrate([bench.table])
    with pytest.raises(ZeroDivisionError):
        await way(bench.store, operation)
    await way(bench.store, lambda sql: sql.changed(INSERT, 1, "x"))
    await positions(bench.store)
    assert [] == await drain(bench.store)


async def an_append_that_cannot_be_undoes_its_transaction(bench: Bench, way) -> None:
    async def operation(sql: Sql) -> None:
        await sql.changed(INSERT, 1, "x")
        await sql.many("append", [(None, *message(0)[1:])])

    await bench.store.migrate([bench.table])
    with pytest.raises(bench.errors) as caught:
        await way(bench.store, operation)
    assert not bench.store.is_unavailable(caught.value)
    await way(bench.store, lambda sql: sql.changed(INSERT, 2, "y"))
    assert [(2, "y")] == await contents(bench.store)


async def an_error_of_a_statement_keeps_its_own_type_and_undoes_all(bench: Bench, way) -> None:
    async def operation(sql: Sql) -> None:
        await sql.changed(INSERT, 1, "x")
        await sql.changed("INSERT INTO t (nothing_like_this) VALUES ($1)", 1)

    await bench.store.migrate([bench.table])
    with pytest.raises(bench.errors) as caught:
        await way(bench.store, operation)
    assert not bench.store.is_unavailable(caught.value)
    await way(bench.store, lambda sql: sql.changed(INSERT, 2, "y"))
    assert [(2, "y")] == await contents(bench.store)


async def the_transaction_is_not_the_operations_to_end(bench: Bench, way) -> None:
    await bench.store.migrate([bench.table])
    for statement in ("COMMIT WORK", "  rollback transaction", "-- so\nEND transaction", "/* so */ Commit work"):
        with pytest.raises(EventseamError, match="not the handler's to end"):
            await way(bench.store, lambda sql, statement=statement: sql.rows(statement))


async def a_word_that_is_no_statement_is_refused(bench: Bench, way) -> None:
    with pytest.raises(EventseamError, match="'apend' is neither a named statement nor SQL"):
        await way(bench.store, lambda sql: sql.rows("apend"))


async def a_savepoint_undoes_a_part(bench: Bench, way) -> None:
    async def operation(sql: Sql) -> None:
        await sql.changed(INSERT, 1, "kept")
        await sql.rows("SAVEPOINT a")
        await sql.changed(INSERT, 2, "undone")
        await sql.rows("ROLLBACK TO a")
        await sql.rows("RELEASE a")
        await sql.changed(INSERT, 3, "kept")

    await bench.store.migrate([bench.table])
    await way(bench.store, operation)
    assert [(1, "kept"), (3, "kept")] == await contents(bench.store)


async def changes_are_counted_and_reads_are_none(bench: Bench, way) -> None:
    async def operation(sql: Sql) -> list[int]:
        await sql.many(INSERT, [(1, "x"), (2, "x"), (3, "y")])
        return [
            await sql.changed("UPDATE t SET a = a + 1 WHERE b = $1", "x"),
            await sql.changed("DELETE FROM t WHERE b = $1", "y"),
            await sql.changed("DELETE FROM t WHERE b = $1", "z"),
        ]

    await bench.store.migrate([bench.table])
    assert [2, 1, 0] == await way(bench.store, operation)


async def a_change_is_a_transaction_of_its_own_and_is_counted(bench: Bench) -> None:
    await bench.store.migrate([bench.table])
    changes = [await bench.store.change("new_position", "tests", slot) for slot in (0, 0, 1)]
    rows = await bench.store.read(lambda sql: sql.rows("revisions", ["tests"]))
    assert ([1, 0, 1], [0, 1]) == (changes, sorted(row[1] for row in rows))


async def cancelled_in_the_middle_it_leaves_nothing_and_locks_nothing(bench: Bench) -> None:
    await bench.store.migrate([bench.table])
    inside = asyncio.Event()

    async def hang() -> None:
        async with bench.store.transaction() as sql:
            await sql.changed(INSERT, 1, "x")
            inside.set()
            await asyncio.sleep(60)

    hanging = asyncio.ensure_future(hang())
    await inside.wait()
    hanging.cancel()
    with suppress(asyncio.CancelledError):
        await hanging
    await bench.store.write(lambda sql: sql.changed(INSERT, 2, "y"))
    assert [(2, "y")] == await contents(bench.store)


async def writes_of_many_tasks_are_all_kept(bench: Bench) -> None:
    await bench.store.migrate([bench.table])
    await bench.store.write(lambda sql: sql.changed(INSERT, 0, "x"))
    add = "UPDATE t SET a = a + 1"
    await asyncio.gather(*[bench.store.write(lambda sql: sql.changed(add)) for _ in range(40)])
    assert [(40, "x")] == await contents(bench.store)


async def statements_of_one_transaction_may_be_awaited_at_once(bench: Bench) -> None:
    await bench.store.migrate([bench.table])
    async with bench.store.transaction() as sql:
        await asyncio.gather(*[sql.changed(INSERT, n, "x") for n in range(10)])
    assert list(range(10)) == sorted(a for a, _ in await contents(bench.store))


async def a_read_sees_one_snapshot(bench: Bench) -> None:
    other = bench.make()

    async def operation(sql: Sql) -> tuple[int, int]:
        before = (await sql.rows("SELECT count(*) FROM t"))[0][0]
        return before, (await sql.rows("SELECT count(*) FROM t"))[0][0]

    await bench.store.migrate([bench.table])
    if bench.store.dialect == "sqlite":  # a statement on the loop holds it up: nobody else can write meanwhile
        assert (0, 0) == await bench.store.read(operation)
        return

    async def between(sql: Sql) -> tuple[int, int]:
        before = (await sql.rows("SELECT count(*) FROM t"))[0][0]
        await other.write(lambda sql: sql.changed(INSERT, 1, "x"))
        return before, (await sql.rows("SELECT count(*) FROM t"))[0][0]

    assert (0, 0) == await bench.store.read(between)
    assert [(1, "x")] == await contents(other)
    await other.close()


async def closing_may_be_repeated_and_the_store_used_again(bench: Bench) -> None:
    await bench.store.migrate([bench.table])
    await bench.store.close()
    await bench.store.close()
    await bench.store.write(lambda sql: sql.changed(INSERT, 1, "x"))
    assert [(1, "x")] == await contents(bench.store)


# --- the schema ---------------------------------------------------------------------------------------------------


async def migrating_again_changes_nothing(bench: Bench) -> None:
    await bench.store.migrate([bench.table])
    await bench.store.write(lambda sql: sql.changed(INSERT, 1, "x"))
    await bench.store.migrate([bench.table])
    assert [(1, "x")] == await contents(bench.store)


async def processes_that_migrate_at_once_wait_for_each_other(bench: Bench) -> None:
    stores = [bench.make() for _ in range(4)]
    await asyncio.gather(*[store.migrate([bench.table]) for store in stores])
    for store in stores:
        assert [] == await contents(store)
        await store.close()


async def a_script_that_fails_leaves_nothing_of_any(bench: Bench) -> None:
    with pytest.raises(bench.errors):
        await bench.store.migrate([bench.table, "CREATE TABLE u (a integer); SELECT a FROM nowhere;"])
    with pytest.raises(bench.errors):
        await contents(bench.store)


# --- our statements -----------------------------------------------------------------------------------------------


def message(n: int, key: str = "k", channel: str = "talk") -> tuple[object, ...]:
    """A row for `append`."""
    return (channel, key, "talk.said", f'{{"n":{n}}}', AT, str(UUID(int=n + 1)), "tests", "c", None, None, None)


async def drain(store: Store, channel: str = "talk") -> list[tuple[int, str, bytes | str]]:
    """Slot, id and body of everything in the journal, read from the beginning in small pages."""
    source = open_source(store, Hint())
    await source.prepare()
    rows = await store.write(lambda sql: sql.rows("claim", "tests", "me", 10.0, 0.0, store.slots, []))
    at = {row[0]: tuple(row)[4:] for row in rows}
    found: list[tuple[int, str, bytes | str]] = []
    for _ in range(20):
        pages = await source.fetch(at, [channel], 7)
        at = {page.slot: page.end for page in pages}
        found += [(page.slot, each.envelope.id, each.body) for page in pages for each in page.messages]
    return found


async def positions(store: Store) -> None:
    """A reader's rows, at the beginning."""
    await store.write(lambda sql: sql.many("new_position", [("tests", slot) for slot in range(store.slots)]))


async def what_is_appended_is_read_once_in_order_of_each_key(bench: Bench, way) -> None:
    await bench.store.migrate()
    await positions(bench.store)
    keys = ["a", "b", "c", "ß", "\U0001f600"]
    for start in range(0, 40, 8):
        rows = [message(n, keys[n % 5]) for n in range(start, start + 8)]
        await way(bench.store, lambda sql, rows=rows: append(sql, rows))
    await way(bench.store, lambda sql: append(sql, [message(99, "a", "other")]))
    found = await drain(bench.store)
    assert {str(UUID(int=n + 1)) for n in range(40)} == {each for _, each, _ in found}
    assert 40 == len(found)
    slots: dict[str, set[int]] = {}
    for key in range(5):
        ids = [str(UUID(int=n + 1)) for n in range(40) if n % 5 == key]
        assert ids == [each for _, each, _ in found if each in ids]
        slots[keys[key]] = {slot for slot, each, _ in found if each in ids}
    assert all(len(each) == 1 for each in slots.values()), "one key is in two slots"


async def a_body_comes_back_as_it_went_in_or_as_equal_json(bench: Bench, way) -> None:
    await bench.store.migrate()
    await positions(bench.store)
    bodies = ['{"a":"\\u0000"}', '{"a":"\\\\u0000"}', '{"big":12345678901234567890.5}', '{"a":"\U0001f600"}']
    rows = [(*message(n)[:3], body, *message(n)[4:]) for n, body in enumerate(bodies)]
    await way(bench.store, lambda sql: append(sql, rows))
    found = [body if isinstance(body, str) else body.decode() for _, _, body in await drain(bench.store)]
    assert [body.replace(" ", "") for body in bodies] == [body.replace(" ", "") for body in found]


async def a_fence_moves_a_position_once(bench: Bench, way) -> None:
    await bench.store.migrate()
    await positions(bench.store)
    claimed = await way(bench.store, lambda sql: sql.rows("claim", "tests", "me", 10.0, 0.0, bench.store.slots, []))
    slot, rev, cursor = claimed[0][0], claimed[0][1], tuple(claimed[0])[4:]
    life = (await bench.store.ask("life"))[0][0]
    fence = Fence("tests", slot, rev, [3, 5], cursor, life)
    await way(bench.store, lambda sql: pass_fences(sql, [fence], Seams()))
    with pytest.raises(Fenced, match="tests"):
        await way(bench.store, lambda sql: pass_fences(sql, [fence], Seams()))
    ours = await way(bench.store, lambda sql: sql.rows("revisions", ["tests", "nobody"]))
    assert rev + 1 == next(row[2] for row in ours if row[1] == slot)


async def the_inbox_takes_each_message_once(bench: Bench, way) -> None:
    await bench.store.migrate()
    claim = ("claim_inbox", ["a", "b", "a"], "service", "handler", AT)
    assert {"a", "b"} == {row[0] for row in await way(bench.store, lambda sql: sql.rows(*claim))}
    again = ("claim_inbox", ["b", "c"], "service", "handler", AT)
    assert ["c"] == [row[0] for row in await way(bench.store, lambda sql: sql.rows(*again))]
    other = ("claim_inbox", ["a"], "service", "another", AT)
    assert ["a"] == [row[0] for row in await way(bench.store, lambda sql: sql.rows(*other))]


def parked(n: int, lane: str, state: str = "retrying") -> tuple[object, ...]:
    """Arguments of `park`."""
    return ("s", "h", lane, f"m{n}", state, 1, 100.0 + n, 50.0, "E", "what", "trace", n, "{}", b"body", 0)


async def states(store: Store) -> list[tuple[str, str]]:
    """Message and state of everything unsettled."""
    rows = await store.read(lambda sql: sql.rows("list_unsettled", None, None, None, None, 100))
    return [(row[4], row[5]) for row in rows]


async def a_lane_has_one_head_and_the_next_follows_when_it_is_settled(bench: Bench, way) -> None:
    async def fill(sql: Sql) -> list[int]:
        return [await sql.changed("park", *parked(n, lane)) for n, lane in enumerate(("x", "x", "y", "x"))]

    async def settle(sql: Sql) -> list[int]:
        first = (await sql.rows("due", "s", "h", 500.0, 900.0, 10, [0]))[0][0]
        promote = ("promote", "s", "h", "x", 7.0)
        return [await sql.changed("settle", first), await sql.changed("settle", first), await sql.changed(*promote)]

    await bench.store.migrate()
    assert [1, 1, 1, 1] == await way(bench.store, fill)
    assert 0 == await way(bench.store, lambda sql: sql.changed("park", *parked(0, "x")))
    assert [("m0", "retrying"), ("m1", "waiting"), ("m2", "retrying"), ("m3", "waiting")] == await states(bench.store)
    assert [1, 0, 1] == await way(bench.store, settle)
    assert [("m1", "retrying"), ("m2", "retrying"), ("m3", "waiting")] == await states(bench.store)
    assert 7.0 == (await bench.store.read(lambda sql: sql.rows("next_due", "s", "h", 0.0, [0])))[0][0]
    lanes = await bench.store.read(lambda sql: sql.rows("parked_lanes", "s", [0]))
    assert {("h", "x", 0), ("h", "y", 0)} == {tuple(row) for row in lanes}


async def a_dead_letter_is_redriven_with_all_its_attempts(bench: Bench, way) -> None:
    await bench.store.migrate()
    await way(bench.store, lambda sql: sql.changed("park", *parked(0, "x", "dead")))
    await way(bench.store, lambda sql: sql.changed("park", *parked(1, "x")))
    assert [("m0", "dead"), ("m1", "waiting")] == await states(bench.store)
    assert 0 == await way(bench.store, lambda sql: sql.changed("redrive", None, None, "dead", [77], 9.0))
    assert 1 == await way(bench.store, lambda sql: sql.changed("redrive", "s", None, "dead", None, 9.0))
    row = (await bench.store.read(lambda sql: sql.rows("due", "s", "h", 9.0, 900.0, 10, [0])))[0]
    assert (0, 9.0, 0, "{}", b"body", 0) == tuple(row)[1:]
    lane = await way(bench.store, lambda sql: sql.rows("discard", row[0]))
    assert ("s", "h", "x") == tuple(lane[0])


async def slots_are_claimed_by_one_owner_at_a_time(bench: Bench) -> None:
    store, other = bench.store, bench.make()
    await store.migrate()
    await positions(store)
    claim = ("claim", "tests")
    mine = await store.write(lambda sql: sql.rows(*claim, "me", 10.0, 0.0, 2, []))
    theirs = await other.write(lambda sql: sql.rows(*claim, "you", 10.0, 0.0, store.slots, []))
    assert {row[0] for row in mine}.isdisjoint({row[0] for row in theirs})
    assert store.slots == len(mine) + len(theirs)
    assert [] == list(await other.write(lambda sql: sql.rows(*claim, "you", 10.0, 0.0, store.slots, [])))
    taken = await other.write(lambda sql: sql.rows(*claim, "you", 10.0, 0.0, store.slots, ["me"]))
    assert {row[0] for row in mine} == {row[0] for row in taken}
    assert all(before[1] + 1 == after[1] for before, after in zip(mine, taken, strict=True))
    await other.write(lambda sql: sql.changed("give_back", "tests", "you", sorted(row[0] for row in taken)))
    held = await store.ask("held", "tests")
    assert len(taken) == [row[1] for row in held].count(None)
    await other.close()
