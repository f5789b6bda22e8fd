"""A database as a running shop would leave it, and the command line run within this process."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pytest

from eventseam.cli.main import main
from eventseam.clock import Seams
from eventseam.contracts.envelope import Envelope
from eventseam.storage.sqlite import SqliteStore

ENVELOPE = Envelope(
    id="m-1",
    type="order.placed",
    source="web",
    channel="order",
    key="o-1",
    time=datetime(2026, 1, 2, 12, 0, tzinfo=UTC),
    correlation_id="c-1",
    causation_id="m-0",
    sequence=7,
)
LONG = b"x" * 10_000
POISON = b'{"order_id": "\x1b[2J\xff'


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run `eventseam …` here."""
    monkeypatch.delenv("EVENTSEAM_DATABASE", raising=False)

    def run(*words):
        code = main([str(word) for word in words])
        return Ended(code, *capsys.readouterr())

    return run


async def insert_unsettled(sql, number, state, where=("charge", "o-1"), body=POISON):
    handler, lane = where
    envelope = msgspec.structs.replace(ENVELOPE, id=f"m-{number}", key=lane)
    await sql.changed(
        "INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, error_class, "
        "error_message, error_trace, position, envelope, body) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        *("payments", handler, lane, envelope.id, state, 10, 1_767_355_260.0, 1_767_355_200.0),
        *("GatewayDown", "no \x1b[31mroute to postgresql://app:canary-9@db/x", "gateway.py:7 in charge\n"),
        *(number, msgspec.json.encode(envelope).decode(), body),
    )


@pytest.fixture
def shop(tmp_path):
    """The URL of a database with three journal rows; two dead letters, of which one has a message behind it."""
    path = tmp_path / "shop.db"

    async def fill(sql):
        for number in range(1, 4):
            await sql.changed(
                "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, created_at, source, "
                "message_id, correlation_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                *("order", f"o-{number % 2}", "order.placed", '{"card":"payload-canary"}', "2026-01-02T12:00:00.000Z"),
                *("web", f"m-{number}", "c-1"),
            )
        await sql.changed("INSERT INTO positions (reader, slot, done) VALUES ($1, 0, 3)", "orders")
        await sql.changed("INSERT INTO positions (reader, slot, done) VALUES ($1, 0, 1)", "payments")
        await insert_unsettled(sql, 1, "dead")
        await insert_unsettled(sql, 2, "waiting")
        await insert_unsettled(sql, 3, "dead", ("refund", "o-9"), LONG)

    asyncio.run(_make(path, fill))
    return f"sqlite:///{path}"


@pytest.fixture
def query(shop):
    """Rows of the shop's database, as lists."""

    def rows(statement):
        async def read():
            store = SqliteStore(shop.removeprefix("sqlite:///"), Seams())
            try:
                return await store.read(lambda sql: sql.rows(statement))
            finally:
                await store.close()

        return [list(row) for row in asyncio.run(read())]

    return rows


async def _make(path, fill):
    store = SqliteStore(str(path), Seams())
    await store.migrate()
    await store.write(fill)
    await store.close()
