"""What a crash of the server takes back: a row that was read before it was on the disk. See scenarios.py."""

from __future__ import annotations

import asyncio

import asyncpg

from eventseam import App, Service, Settings, Tx
from eventseam.journal.snapshot import SnapshotSource
from eventseam.testing.servers import postgres
from tests.support.postgres import query
from tests.support.run import Seen, until
from tests.teeth.plants import swapped
from tests.teeth_postgres import scenarios as s
from tests.teeth_postgres.ahead import crash

SAY = """INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload)
VALUES ('talk', 'k', 'said', '{"who": "k", "n": %d}')"""


def in_transactions(react) -> Service[object]:
    """The same service, with a transaction for each message."""
    service: Service[object] = Service("ears", tables=s.TABLES)

    @service.on_tx(s.Said, retry=s.QUICK)
    async def hear(event: s.Said, tx: Tx) -> None:
        await react(event, tx)
        await tx.execute("INSERT INTO seen (who, n) VALUES ($1, $2)", event.who, event.n)

    return service


async def _is_not_applied(make) -> None:
    """A handler has it in hand when the server crashes; its reader has not looked again when it is applied."""
    inside, gate = asyncio.Event(), asyncio.Event()

    async def react(event, _ctx) -> None:
        if event.n == 1:
            inside.set()
            await gate.wait()

    honest = SnapshotSource.fetch

    async def fetch(self, at, channels, limit):
        if inside.is_set():
            await gate.wait()
            await asyncio.sleep(1.0)
        return await honest(self, at, channels, limit)

    settings = {"wal_writer_delay": "10s", "autovacuum": "off"}
    with postgres(settings=settings) as server, swapped((SnapshotSource, "fetch", fetch)):
        app = App(make(react), settings=Settings(database=server.url, durability="normal"), probe=Seen())
        async with app.running():
            await app.wait_idle()
            writer = await asyncpg.connect(server.url)
            await writer.execute("CHECKPOINT")  # all but the row will be there
            await writer.execute("SET synchronous_commit = off")
            await writer.execute(SAY % 1)
            await asyncio.wait_for(inside.wait(), 10)
            await asyncio.to_thread(crash, server)
            assert [(0,)] == query(server.url, "SELECT count(*) FROM event_outbox")
            gate.set()
            await asyncio.sleep(0.5)
            query(server.url, SAY % 2)
            await until(lambda: (2,) in query(server.url, "SELECT n FROM seen"))
            found = [n for (n,) in query(server.url, "SELECT n FROM seen ORDER BY at")]
    assert 1 not in found, f"taken back: {found}"


async def what_a_crash_takes_back_is_not_applied(_url: str, _bus: str) -> None:
    await _is_not_applied(s.listener)


async def what_a_crash_takes_back_is_not_applied_by_a_transaction(_url: str, _bus: str) -> None:
    await _is_not_applied(in_transactions)
