"""What a tail must stand, as scripts on a real server: each raises AssertionError when a row is lost, doubled or late.

Each takes a kind of reader: the honest one, or one with a planted bug (tests/tail/plants.py).
"""

from __future__ import annotations

import asyncio

from eventseam.errors import StorageUnavailable
from eventseam.journal.cursor import Snapshot
from eventseam.journal.rebase import rebase
from eventseam.testing.servers import StartedPostgres
from tests.support.postgres import query
from tests.tail.rig import Reader, Scene, audit, scene_at

NUMBER = "SELECT pg_current_xact_id()"


async def a_late_commit_with_a_low_position_is_read(scene: Scene, kind: type[Reader]) -> None:
    late, quick = scene.writer(), scene.writer()
    late.execute("BEGIN")
    scene.append(late)
    scene.append(quick, "b")
    reader = await loaded(scene, kind)
    await reader.drain()
    late.execute("COMMIT")
    await reader.drain()
    audit(scene.url)


async def an_old_transaction_that_appends_late_hides_nobody(scene: Scene, kind: type[Reader]) -> None:
    """The row of the younger transaction has the lower position, and is committed last."""
    old, young = scene.writer(), scene.writer()
    old.execute("BEGIN")
    old.execute(NUMBER)
    young.execute("BEGIN")
    scene.append(young)
    scene.append(old, "b")
    old.execute("COMMIT")
    reader = await loaded(scene, kind)
    await reader.drain()
    young.execute("COMMIT")
    await reader.drain()
    audit(scene.url)


async def a_strangers_open_transaction_delays_nobody(scene: Scene, kind: type[Reader]) -> None:
    """Somebody in another database of the server has begun, and does not end."""
    stranger = scene.elsewhere()
    stranger.execute("BEGIN")
    stranger.execute(NUMBER)
    scene.append(scene.writer())
    reader = await loaded(scene, kind)
    assert [1] == await reader.drain(), "late: a stranger's transaction must end first"


async def an_id_that_was_taken_long_ago_is_read(scene: Scene, kind: type[Reader]) -> None:
    """A program takes an id from the sequence, thinks, and inserts the row with it."""
    slow, quick = scene.writer(), scene.writer()
    (taken,) = slow.execute("SELECT nextval(pg_get_serial_sequence('event_outbox', 'id'))").fetchone()
    scene.append(quick, "b")
    reader = await loaded(scene, kind)
    await reader.drain()
    quick.execute(NUMBER)
    await reader.drain()
    slow.execute(
        "INSERT INTO event_outbox (id, aggregate_type, aggregate_id, event_type, payload) "
        """VALUES (%s, 'ledger', 'a', 'told', '{"n": 0}')""",
        (taken,),
    )
    await reader.drain()
    audit(scene.url)


async def the_end_of_a_difference_is_pinned(scene: Scene, kind: type[Reader]) -> None:
    """While a reader pages, a row with a position that it has passed is committed."""
    late, quick = scene.writer(), scene.writer()
    late.execute("BEGIN")
    scene.append(late)
    scene.append(quick, "b", rows=4)
    reader = await loaded(scene, kind)
    await reader.step(2)
    late.execute("COMMIT")
    await reader.drain(2)
    audit(scene.url)


async def what_an_apply_appends_is_read(scene: Scene, kind: type[Reader]) -> None:
    """The apply publishes a message of its own; meanwhile somebody whose number is higher commits."""
    quick = scene.writer()
    scene.append(quick, "b")

    class Publishing(kind):  # type: ignore[valid-type, misc]
        has_published = False

        async def between(self) -> None:
            if not self.has_published:
                scene.append(quick, "c")

        async def put(self, sql, moves, messages) -> None:
            await super().put(sql, moves, messages)
            if not self.has_published:
                self.has_published = True
                await sql.rows("INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
                               """VALUES ('ledger', 'a', 'told', '{"n": 0}')""")  # fmt: skip

    reader = Publishing(scene.store)
    await reader.load()
    await reader.drain()
    audit(scene.url)


async def a_late_commit_of_an_era_that_is_over_is_read(scene: Scene, kind: type[Reader]) -> None:
    """A reader is inside a difference when a row with a passed position is committed and the journal is rebased."""
    late, quick = scene.writer(), scene.writer()
    late.execute("BEGIN")
    scene.append(late)
    scene.append(quick, "b", rows=9)
    reader = await loaded(scene, kind)
    await reader.step(3)
    late.execute("COMMIT")
    assert 2 == (await scene.store.write(rebase)).era
    scene.append(quick, "c", rows=4)
    await reader.load()
    await reader.drain(3)
    audit(scene.url)


async def a_cursor_from_before_a_crash_is_not_used(server: StartedPostgres, kind: type[Reader]) -> None:
    """Numbers that no disk has seen are given again after a crash: `server` must write its log rarely."""
    async with scene_at(server.database(f"crash_{kind.__name__.lower()}")) as scene:
        quick = scene.writer()
        scene.append(quick)
        reader = await loaded(scene, kind)
        await reader.drain()
        for _ in range(40):
            quick.execute("BEGIN")
            quick.execute(NUMBER)
            quick.execute("ROLLBACK")
        assert [] == await reader.step()
        kept = max(Snapshot.parse(cursor[1]).xmax for cursor in reader.at.values())
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        given = int(query(scene.url, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")[0][0])
        assert given < kept, f"the server gives no number again: {given}, and the cursor has {kept}"
        scene.append(scene.writer(), "b", rows=60)
        await _patiently(reader)
        audit(scene.url)


async def _patiently(reader: Reader) -> None:
    """The first words on a connection that has died fail; it is opened again."""
    for _ in range(5):
        try:
            await reader.drain()
        except StorageUnavailable:
            continue
        return


async def loaded(scene: Scene, kind: type[Reader]) -> Reader:
    """A reader that has all slots."""
    reader = kind(scene.store)
    await reader.load()
    return reader


SCENARIOS = (
    a_late_commit_with_a_low_position_is_read,
    an_old_transaction_that_appends_late_hides_nobody,
    a_strangers_open_transaction_delays_nobody,
    an_id_that_was_taken_long_ago_is_read,
    the_end_of_a_difference_is_pinned,
    what_an_apply_appends_is_read,
    a_late_commit_of_an_era_that_is_over_is_read,
)
