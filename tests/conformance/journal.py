"""The journal as a transport, on SQLite and on PostgreSQL, and a PostgreSQL database as the bus: for the suite alone.

An app needs no `Broker` for these; here one is put around their sources and their append statements.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

from eventseam import Seams
from eventseam.app.stores import open_source
from eventseam.contracts.codec import DEFAULT_CAPS
from eventseam.journal.append import timestamp
from eventseam.journal.bus import BusMemory
from eventseam.journal.snapshot import SnapshotSource
from eventseam.journal.source import Hint
from eventseam.journal.starts import register
from eventseam.ports.transport import Capabilities, Feature, Layout
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from eventseam.storage.sqlite import SqliteOptions, SqliteStore
from eventseam.testing.conformance import Fault
from eventseam.transports.postgres import PostgresSink, _row
from tests.support import postgres

APPEND = """
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, content_type, schema_id, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
CURSORS = {
    "sqlite": "SELECT slot, done FROM positions WHERE reader = $1",
    "postgresql": "SELECT slot, era, s0::text, s1::text, done, hi FROM positions WHERE reader = $1",
}
FEATURES = frozenset({Feature.ORDER, Feature.REPLAY, Feature.TIMES, Feature.LATE, Feature.SURVIVES})


class SqliteSink:
    """Appends in one transaction."""

    def __init__(self, store) -> None:
        self.store = store

    async def publish(self, batch) -> None:
        rows = []
        for message in batch:
            row = list(_row(message))
            row[3] = row[3] or ""
            row[5] = timestamp(message.envelope.time)
            rows.append(row)
        await self.store.write(lambda sql: sql.many(APPEND, rows))


class JournalBroker:
    """A client of a journal; `made` are the channels of its stage."""

    def __init__(self, store, made, *, is_bus: bool) -> None:
        self.store = store
        self.is_bus = is_bus
        self._made = made
        features = FEATURES | ({Feature.BLOCKS} if store.slots > 1 else set())
        self.capabilities = Capabilities(features, "", "", "", "", "", DEFAULT_CAPS.body_bytes_max)

    async def layouts(self, channels):
        return {channel: Layout(self._made[channel]) for channel in channels if channel in self._made}

    async def create(self, wanted) -> None:
        for channel, partitions in wanted.items():
            self._made.setdefault(channel, partitions)

    async def begin(self, reader, channels, slots, starts):
        async def begin(sql):
            await register(sql, [(reader, starts)], slots)
            return await sql.rows(CURSORS[self.store.dialect], reader)

        return {row[0]: tuple(row)[1:] for row in await self.store.write(begin)}

    async def behind(self, at):
        source, found, is_whole = open_source(self.store, Hint()), dict.fromkeys(at, 0), False
        await source.prepare()
        while not is_whole:
            pages = await source.fetch(at, list(self._made), 1_000)
            at = {**at, **{page.slot: page.end for page in pages}}
            is_whole = all(page.is_whole for page in pages)
            for page in pages:
                found[page.slot] += len(page.messages)
        return found

    def source(self, reader, channels, slots):
        if self.is_bus:
            return SnapshotSource(self.store, Hint(), BusMemory(self.store, reader))
        return open_source(self.store, Hint())

    def sink(self):
        return SqliteSink(self.store) if self.store.dialect == "sqlite" else PostgresSink(self.store)

    async def close(self) -> None:
        await self.store.close()


class JournalStage:
    """A database."""

    faults = frozenset()

    def __init__(self, place, *, is_bus: bool = False) -> None:
        self.place = place
        self.is_bus = is_bus
        self.made: dict[str, int] = {}
        self.slots = self.store().slots

    def store(self):
        return SqliteStore(str(self.place), Seams(), SqliteOptions(durability="normal"))

    async def connect(self):
        store = self.store()
        await store.migrate([])
        return JournalBroker(store, self.made, is_bus=self.is_bus)


class PostgresStage(JournalStage):
    """A database whose server can end its connections."""

    faults = frozenset({Fault.CUT})

    def store(self):
        return PostgresStore(self.place, Seams(), PostgresOptions(durability="normal"))

    async def cut(self) -> None:
        postgres.cut_off(self.place, "%")


@asynccontextmanager
async def journal_stage(place, *, is_bus: bool = False):
    yield PostgresStage(place, is_bus=is_bus) if isinstance(place, str) else JournalStage(place)
