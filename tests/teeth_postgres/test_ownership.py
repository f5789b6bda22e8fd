"""Faults of ownership that were found by reading: each test failed before its fix."""

from __future__ import annotations

from eventseam import Seams
from eventseam.delivery.committer import Surroundings
from eventseam.delivery.ownership import Ownership, Reader
from eventseam.journal.snapshot import SnapshotSource
from eventseam.journal.source import Hint
from eventseam.ports.transport import Page
from eventseam.storage.postgres import PostgresStore
from tests.bus.test_bus import INSERT, Relayed, Scripted, _run, until
from tests.support.postgres import query


async def test_a_position_that_a_bus_has_kept_is_claimed_by_a_service_that_moves_in(postgres_url):
    """Its owner is called 'bus', which is no process of any machine."""
    sink = Scripted()
    store = PostgresStore(postgres_url, Seams())
    await store.migrate()
    await store.write(lambda sql: sql.many("new_position", [("relay", slot) for slot in range(16)]))
    await store.close()
    query(postgres_url, "UPDATE positions SET owner = 'bus'")
    async with Relayed(postgres_url, sink):
        await _run(postgres_url, INSERT.format(1, 1))
        await until(lambda: sink.batches, 10)
    assert [["1"]] == sink.batches


class Late:
    """A store that lets something happen just before a slot is given back."""

    def __init__(self, store, happens):
        self._store = store
        self._happens = happens

    async def write(self, operation):
        self._happens()
        return await self._store.write(operation)


async def test_a_slot_into_which_a_look_brought_more_while_it_was_given_back_ends_the_shift(postgres_url):
    store = PostgresStore(postgres_url, Seams())
    await store.migrate()
    await store.write(lambda sql: sql.many("new_position", [("r", slot) for slot in range(16)]))
    source = SnapshotSource(store, Hint())
    owners = Ownership(Reader("r", "r"), source, Surroundings(store, Seams(), None, lambda: None), 9.0)
    shift = await owners.take()
    window = shift.slots[15].window

    def bring() -> None:
        window.read(Page(15, (), window.done, lambda _: window.done, is_whole=True))
        window.admit(1, 1)

    owners._around = Surroundings(Late(store, bring), Seams(), None, lambda: None)
    shift.leaving = {15}
    await owners._give_back(shift)
    await store.close()
    assert (False, True) == (shift.on, 15 in shift.slots)
