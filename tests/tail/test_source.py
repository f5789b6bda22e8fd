"""The source on a real server, script by script: how rows get into a journal, how pages, slots and cursors move."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from eventseam.errors import CursorLost, Fenced, StorageUnavailable
from eventseam.journal.cursor import SnapshotCursor
from tests.support.postgres import cut_off, query
from tests.tail.rig import APPEND, Reader, audit, scene_at
from tests.tail.scenarios import NUMBER, loaded

FOUR = "aggregate_type, aggregate_id, event_type, payload"
FINISHED = """
SELECT o.position FROM event_outbox o JOIN positions p ON p.slot = o.slot AND p.reader = 'reader'
WHERE eventseam_has_finished(p, o.era, o.x, o.position) ORDER BY 1
"""
TOLD = """('ledger', '{}', 'told', '{{"n": {}}}')"""


def told(key: str, n: int) -> str:
    """The INSERT of the guide, as text."""
    return f"INSERT INTO event_outbox ({FOUR}) VALUES {TOLD.format(key, n)}"


# ----------------------------------------------------------------------------------------- how rows get into it


async def test_what_a_savepoint_takes_back_is_not_read_and_the_rest_is(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer, quick = scene.writer(), scene.writer()
        reader = await loaded(scene, Reader)
        writer.execute(f"BEGIN; {told('a', 1)}; SAVEPOINT one; {told('a', 2)}; ROLLBACK TO one; SAVEPOINT two")
        writer.execute(f"{told('a', 3)}; RELEASE two; {told('a', 4)}")
        scene.append(quick, "b")
        await reader.drain()
        writer.execute("COMMIT")
        await reader.drain()
        audit(postgres_url)
        rows = query(postgres_url, "SELECT n FROM seen WHERE key = 'a' ORDER BY at")
        assert [(1,), (3,), (4,)] == rows


@pytest.mark.parametrize("end, expected", [("COMMIT", [1, 2]), ("ROLLBACK", [2])])
async def test_a_prepared_transaction_is_read_when_it_is_committed(end, expected, postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        name = postgres_url.rpartition("/")[2]
        writer.execute(f"BEGIN; {told('a', 1)}; PREPARE TRANSACTION '{name}'")
        scene.append(writer, "b")
        found = await reader.drain()
        assert [2] == found
        scene.writer().execute(f"{end} PREPARED '{name}'")
        found += await reader.drain()
        audit(postgres_url)
        assert expected == sorted(found)


async def test_an_insert_that_takes_its_time_between_its_number_and_its_commit_is_read(postgres_url):
    async with scene_at(postgres_url) as scene:
        slow, quick = scene.writer(), scene.writer()
        reader = await loaded(scene, Reader)
        text = f"INSERT INTO event_outbox ({FOUR}) SELECT 'ledger', 'a', 'told', jsonb_build_object('n', {{}})"
        slow.execute("SELECT pg_advisory_lock(1)")
        waits = asyncio.create_task(
            asyncio.to_thread(scene.writer().execute, text.format("length(pg_advisory_lock(1)::text)"))
        )
        while not query(postgres_url, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        scene.append(quick, "b", rows=3)
        await reader.drain()
        slow.execute("SELECT pg_advisory_unlock(1)")
        await waits
        await reader.drain()
        audit(postgres_url)
        assert [(4,)] == query(postgres_url, "SELECT count(*) FROM seen")


async def test_rows_of_a_copy_are_read_in_their_order(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        with writer.cursor().copy(f"COPY event_outbox ({FOUR}) FROM STDIN") as copy:
            for n in range(150):
                copy.write_row(("ledger", "a", "told", f'{{"n": {n}}}'))
            scene.append(scene.writer(), "b")
            await reader.drain()
        await reader.drain(40)
        audit(postgres_url)
        assert [(n,) for n in range(150)] == query(postgres_url, "SELECT n FROM seen WHERE key = 'a' ORDER BY at")


async def test_a_published_at_that_is_set_or_taken_away_brings_nothing_again(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        scene.append(writer, rows=3)
        await reader.drain()
        writer.execute("UPDATE event_outbox SET published_at = now() WHERE position < 3")
        writer.execute("UPDATE event_outbox SET published_at = NULL WHERE position = 1")
        assert [] == await reader.drain()
        await reader.load()
        assert [] == await reader.drain()


async def test_other_channels_are_passed_over(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        foreign = (
            f"INSERT INTO event_outbox ({FOUR}) SELECT 'other', n::text, 'x', '{{}}' FROM generate_series(1, 70) n"
        )
        scene.append(writer)
        writer.execute(foreign)
        scene.append(writer, "b")
        writer.execute(foreign)
        assert [1, 72] == await reader.drain(1)
        assert {None} == {cursor[2] for cursor in reader.at.values()}


@pytest.mark.parametrize("column, value", [("x", "'3'"), ("x", "pg_current_xact_id()"),
                                           ("era", "7"), ("era", "NULL"), ("position", "12")])  # fmt: skip
async def test_what_places_a_row_is_the_databases_to_give(column, value, postgres_url):
    async with scene_at(postgres_url) as scene:
        text = f"INSERT INTO event_outbox ({FOUR}, {column}) VALUES ('ledger', 'a', 'told', '{{\"n\": 1}}', {value})"
        if "current" in value:  # its own number is no lie
            scene.writer().execute(text)
        else:
            with pytest.raises(psycopg.Error, match=r"given by the database|non-DEFAULT value"):
                scene.writer().execute(text)
        reader = await loaded(scene, Reader)
        await reader.drain()
        audit(postgres_url)


@pytest.mark.parametrize("column", ["x = pg_current_xact_id()", "era = 2", "position = DEFAULT"])
async def test_what_places_a_row_is_never_changed(column, postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        scene.append(writer)
        with pytest.raises(psycopg.Error, match="never UPDATE them"):
            writer.execute(f"UPDATE event_outbox SET {column}")


# ------------------------------------------------------------------------------------ pages, slots and cursors


async def test_a_difference_larger_than_a_page_survives_a_crash_at_each_page(postgres_url):
    async with scene_at(postgres_url) as scene:
        late, quick = scene.writer(), scene.writer()
        late.execute("BEGIN")
        scene.append(late)
        scene.append(quick, "b", rows=20)
        for page in range(9):
            reader = await loaded(scene, Reader)  # whatever the one before had in memory is gone
            await reader.step(3, most=None if page % 2 else 2)
            if page == 4:
                late.execute("COMMIT")
                scene.append(quick, "c", rows=5)
        await (await loaded(scene, Reader)).drain(3)
        audit(postgres_url)


async def test_pages_of_one_row_and_of_exactly_all_rows_end(postgres_url):
    async with scene_at(postgres_url) as scene:
        scene.append(scene.writer(), rows=6)
        for limit in (1, 2, 3, 5, 6, 7):
            reader = Reader(scene.store, f"by {limit}")
            await reader.load()
            assert list(range(1, 7)) == await reader.drain(limit)


async def test_slots_at_different_cursors_meet_and_are_read_together(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        for slot in range(16):
            for key in "abcdefghij":
                scene.append(writer, key)
            await reader.step(7, slots=[slot])
        assert 10 < len(set(reader.at.values()))
        await reader.drain(7)
        audit(postgres_url)
        assert 1 == len(set(reader.at.values()))
        asked = _asked(reader)
        await reader.step(7)
        assert ["poll"] == asked


async def test_a_slot_behind_meets_the_latest_where_nothing_lies_between(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        await reader.step()
        writer.execute(NUMBER)
        await reader.step(slots=[3])
        assert 2 == len(set(reader.at.values()))
        latest = SnapshotCursor(*reader.at[3])
        asked = _asked(reader)
        assert [] == await reader.step(slots=range(8))
        assert ["open_difference", "poll"] == sorted(asked)
        assert {latest} == {SnapshotCursor(*reader.at[slot]) for slot in range(8)}


async def test_a_poll_that_finds_nothing_is_one_statement_and_moves_only_in_memory(postgres_url):
    async with scene_at(postgres_url) as scene:
        scene.append(scene.writer())
        reader = await loaded(scene, Reader)
        await reader.drain()
        stored = query(postgres_url, "SELECT rev, s0::text FROM positions ORDER BY slot")
        before = dict(reader.at)
        scene.writer().execute(NUMBER)
        asked = _asked(reader)
        assert [] == await reader.step()
        assert ["poll"] == asked
        assert before != reader.at
        assert stored == query(postgres_url, "SELECT rev, s0::text FROM positions ORDER BY slot")


async def test_what_a_reader_has_finished_is_told_by_the_database_at_each_step(postgres_url):
    async with scene_at(postgres_url) as scene:
        late, quick = scene.writer(), scene.writer()
        late.execute("BEGIN")
        scene.append(late)
        scene.append(quick, "b", rows=7)
        reader = await loaded(scene, Reader)
        for step in range(9):
            await reader.step(2, most=1 if step % 3 == 0 else None)
            assert query(postgres_url, "SELECT position FROM seen ORDER BY 1") == query(postgres_url, FINISHED)
            if step == 2:
                late.execute("COMMIT")
        audit(postgres_url)


# ---------------------------------------------------------------------------------------- connections and owners


async def test_a_cursor_that_was_loaded_on_another_connection_is_refused(postgres_url):
    async with scene_at(postgres_url) as scene:
        reader = await loaded(scene, Reader)
        scene.append(scene.writer())
        assert 1 == cut_off(postgres_url, "eventseam:poll%")
        with pytest.raises(CursorLost, match="must be loaded again"):
            await _after_the_cut(reader)
        assert [] == query(postgres_url, "SELECT * FROM seen")
        await reader.load()
        assert [1] == await reader.drain()


async def test_a_poll_runs_in_no_transaction_and_takes_no_number(postgres_url):
    async with scene_at(postgres_url) as scene:
        await loaded(scene, Reader)
        (before,) = scene.writer().execute(f"{NUMBER}::text::bigint").fetchone()
        for _ in range(20):
            rows = await scene.store.ask("SELECT pg_current_xact_id_if_assigned()::text, txid_current_if_assigned()")
            assert (None, None) == tuple(rows[0])
        assert (before + 1,) == scene.writer().execute(f"{NUMBER}::text::bigint").fetchone()
        states = query(postgres_url, "SELECT state FROM pg_stat_activity WHERE application_name LIKE 'eventseam:poll%' "
                                     "AND datname = current_database()")  # fmt: skip
        assert [("idle",)] == states


async def test_an_owner_whose_slots_were_taken_over_writes_nothing(postgres_url):
    async with scene_at(postgres_url) as scene:
        scene.append(scene.writer(), rows=3)
        old = await loaded(scene, Reader)
        new = await loaded(scene, Reader)
        with pytest.raises(Fenced):
            await old.step()
        assert [1, 2, 3] == await new.drain()
        audit(postgres_url)


async def test_two_owners_share_the_slots_and_each_row_is_read_by_one(postgres_url):
    async with scene_at(postgres_url) as scene:
        one, other = Reader(scene.store, slots_max=9), Reader(scene.other_store(), slots_max=16)
        await one.load()
        query(postgres_url, "UPDATE positions SET owner = 'one' WHERE owner IS NOT NULL")
        await other.load()
        assert (9, 7) == (len(one.at), len(other.at))
        for key in range(40):
            scene.append(scene.writer(), str(key))
        found = [await one.drain(4), await other.drain(6)]
        assert all(found)
        assert list(range(1, 41)) == sorted(found[0] + found[1])
        await other.store.close()


async def test_a_row_that_a_crash_may_take_back_does_not_outlive_it_with_its_reader(postgres_url):
    """A reader's own commit waits for the disk, and with it the commit of every row that it has seen."""
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        writer.execute("SET synchronous_commit = off")
        writer.execute(APPEND, ("a", 1))
        (row_at,) = writer.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        reader = await loaded(scene, Reader)
        assert [1] == await reader.drain()
        (flushed,) = writer.execute("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
        assert flushed >= row_at


def _asked(reader: Reader) -> list[str]:
    """The statements that its source asks from now on."""
    asked: list[str] = []
    ask = reader.source._ask

    async def noted(statement, *args):
        asked.append(statement)
        return await ask(statement, *args)

    reader.source._ask = noted
    return asked


async def _after_the_cut(reader: Reader) -> None:
    """The first words on the dead connection may be lost with it."""
    try:
        await reader.step()
    except StorageUnavailable:
        await reader.step()
