"""Scenarios of the relay's look ahead, each of which finds a planted bug. See scenarios.py."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress

import asyncpg
import psycopg

from eventseam.errors import OutcomeUnknown
from eventseam.journal.snapshot import SnapshotSource
from eventseam.storage.catalog import statements
from eventseam.testing.servers import postgres
from tests.bus.test_bus import INSERT, Relayed, Scripted, _run, until
from tests.support.postgres import query

LIFE = statements("postgresql")["life"]
KEYS = INSERT.replace("'k'", "'k' || n")


class Gated(SnapshotSource):
    """A source whose fetches are counted, and held before they begin (from `hold_from` on), or with what they found."""

    def __init__(self, store, hint):
        super().__init__(store, hint)
        self.begun = self.ended = 0
        self.hold_from = 1_000_000
        self.hold_found = False
        self.gate = asyncio.Event()

    async def fetch(self, at, channels, limit):
        self.begun += 1
        if self.begun >= self.hold_from:
            await self.gate.wait()
        try:
            pages = await super().fetch(at, channels, limit)
        finally:
            self.ended += 1
        if self.hold_found and any(page.messages for page in pages):
            await self.gate.wait()
        return pages


async def made(url: str) -> None:
    """Make the tables."""
    async with Relayed(url, Scripted()):
        pass


async def a_page_fetched_ahead_is_durable_when_it_is_published(_url: str, _bus: str) -> None:
    """The third fetch begins while the second page is published, and sees what was not there at the second note."""
    with postgres(settings={"wal_writer_delay": "10s"}) as server:  # nobody else writes it to the disk meanwhile
        await _is_durable(server.url)


async def _is_durable(url: str) -> None:
    await made(url)
    await _run(url, INSERT.format(1, 6))
    careless, lag, at = await asyncpg.connect(url), [], [""]
    await careless.execute("SET synchronous_commit = off")

    async def write_unsafely(_batch) -> None:
        await careless.execute(INSERT.format(100, 105))
        at[0] = await careless.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        relayed.source.gate.set()
        await until(lambda: relayed.source.ended > 2)

    async def look(batch) -> None:
        flushed = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn"
        lag.append((batch[0].body, await careless.fetchval(flushed, at[0])))

    async def nothing(_batch) -> None: ...

    sink = Scripted(nothing, write_unsafely, look)
    relayed = Relayed(url, sink, Gated, page_max=4)
    relayed.source.hold_from = 3
    async with relayed:
        await until(lambda: lag)
    await careless.close()
    assert lag[0][0] == "100", f"something else came: {sink.batches}"
    assert lag[0][1], "not durable: what was fetched ahead"


async def what_is_given_back_is_not_published(url: str, _bus: str) -> None:
    """A slot goes to another process while its next message is there already."""
    await made(url)
    await _run(url, KEYS.format(1, 12))
    slots = dict(query(url, "SELECT payload::text, slot FROM event_outbox"))
    relayed = Relayed(url, sink := Scripted(), Gated, page_max=4)
    take, given = relayed.relay._ownership.take, slots["8"]

    async def give(_batch) -> None:
        await until(lambda: relayed.source.ended > 1)
        shift.leaving = {given}
        shift.drop_leaving()

    async def take_and_tell():
        nonlocal shift
        shift = await take()
        return shift

    shift, sink.script = None, [give]
    relayed.relay._ownership.take = take_and_tell
    rest = [n for n, slot in slots.items() if int(n) > 4 and slot != given]
    async with relayed:
        await until(lambda: set(rest) <= {body for batch in sink.batches for body in batch})
    late = [body for batch in sink.batches[1:] for body in batch if slots[body] == given]
    assert not late, f"not ours: {late} of slot {given}"


async def a_relay_that_was_replaced_publishes_no_more(url: str, _bus: str) -> None:
    """It loses its slots while it publishes, with the next page at hand: that one comes again, from its position."""
    await made(url)
    await _run(url, KEYS.format(1, 10))

    async def lose(_batch) -> None:
        await until(lambda: relayed.source.ended > 2)
        await _run(url, "UPDATE positions SET rev = rev + 1")
        raise OutcomeUnknown("who knows")

    async def nothing(_batch) -> None: ...

    relayed = Relayed(url, sink := Scripted(nothing, lose), Gated, page_max=4)
    async with relayed:
        await until(lambda: sink.batches and "10" in sink.batches[-1])
    first, second, third = ["1", "2", "3", "4"], ["5", "6", "7", "8"], ["9", "10"]
    assert [first, second, second, third] == sink.batches, f"by a zombie: {sink.batches}"


async def what_a_crash_takes_back_is_not_published(_url: str, _bus: str) -> None:
    """A row that was not on the disk is fetched, the server crashes, and the note is tried when it is back."""
    with postgres(settings={"wal_writer_delay": "10s", "autovacuum": "off"}) as server:
        await made(server.url)
        relayed = Relayed(server.url, sink := Scripted(), Gated)
        relayed.source.hold_found = True
        async with relayed:
            await until(lambda: relayed.source.ended > 1)
            writer = await asyncpg.connect(server.url)
            await writer.execute("CHECKPOINT")  # all but the row will be there
            await writer.execute("SET synchronous_commit = off")
            before = relayed.source.ended
            await writer.execute(INSERT.format(1, 1))
            await until(lambda: relayed.source.ended > before and relayed.source.ended == relayed.source.begun)
            await asyncio.sleep(0.2)  # the next look has begun, if this one saw nothing yet
            await asyncio.to_thread(crash, server)
            assert [(0,)] == query(server.url, "SELECT count(*) FROM event_outbox")
            await _run(server.url, INSERT.format(2, 2))
            relayed.source.gate.set()
            await until(lambda: sink.batches and "2" in sink.batches[-1])
    landed = [body for batch in sink.batches for body in batch]
    assert "1" not in landed, f"taken back: {sink.batches}"


def crash(server) -> None:
    """Kill a process of a server, which makes it throw away its memory; returns when it is back."""
    born = query(server.url, LIFE)[0][0]
    os.kill(
        query(server.url, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")[0][0], signal.SIGKILL
    )
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        time.sleep(0.05)
        with suppress(psycopg.Error):  # it is not back yet
            if query(server.url, LIFE)[0][0] != born:
                return
    raise AssertionError("the server has not come back as another one")
