"""Publish in the user's own transaction: one business row and one event, by `publish` or by the guide's INSERT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import psycopg
from sqlalchemy import create_engine, insert, text
from sqlalchemy.orm import Session

from bench.contracts import placed, receipts_service
from bench.measure import Case, Comparison, Variant
from bench.postgres import raw
from bench.postgres.services import WRITE, Receipt
from bench.postgres.timing import Watch, with_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.contracts import OrderPlaced
    from bench.measure import Timing
    from bench.postgres.databases import Databases

_GUIDE = (
    "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
    "VALUES ('order', {}, 'order.placed', {})"
)
_INSERTS = {
    "psycopg": _GUIDE.format("%s", "%s"),
    "asyncpg": _GUIDE.format("$1", "$2"),
    "SQLAlchemy Session": _GUIDE.format(":key", ":body"),
}
_encode = msgspec.json.Encoder(decimal_format="string").encode
_service = receipts_service()
_HAND = "BEGIN, a row, the guide's INSERT of four columns, COMMIT"
_OURS = "BEGIN, a row, publish(connection, event), COMMIT: id, correlation, trace, limits"


def publish(count: int, databases: Databases) -> Case:
    """`count` transactions per round and variant, one after another."""
    variants: list[Variant] = []
    comparisons: list[Comparison] = []
    for kind, work in {"psycopg": _psycopg, "asyncpg": _asyncpg, "SQLAlchemy Session": _session}.items():
        hand, ours = f"by hand, {kind}", f"eventseam, {kind}"
        variants.append(Variant(hand, _measured(databases, work, count, ours=False), _HAND))
        variants.append(Variant(ours, _measured(databases, work, count, ours=True), _OURS))
        comparisons.append(Comparison(f"publish of by hand, {kind}", ours, hand))
    return Case("pg-publish", "Publish in the user's own transaction on PostgreSQL", variants, comparisons)


def _measured(databases: Databases, work: Callable[..., Timing], count: int, *, ours: bool) -> Callable[[], Timing]:
    def measure() -> Timing:
        url = databases.fresh(databases.filled(0, None))
        found = with_server(databases.server.pid, count, lambda: work(url, count, ours=ours))
        written = raw.counts(url, "order")
        assert (written[0], written[2]) == (count, count), f"{count} receipts and events expected, {written} found"
        return found

    return measure


def _parts(event: OrderPlaced) -> tuple[Any, ...]:
    return (event.order_id, event.customer, event.total)


def _psycopg(url: str, count: int, *, ours: bool) -> Timing:
    write = "INSERT INTO receipts (order_id, customer, total) VALUES (%s, %s, %s)"
    with psycopg.connect(url) as connection:
        watch = Watch()
        for number in range(count):
            event = placed(number, None)
            with connection.transaction():
                connection.execute(write, _parts(event))
                if ours:
                    _service.publish(connection, event)
                else:
                    connection.execute(_INSERTS["psycopg"], (event.customer, _encode(event).decode()))
        return watch.per(count)


def _asyncpg(url: str, count: int, *, ours: bool) -> Timing:
    async def work() -> Timing:
        connection = await asyncpg.connect(url)
        watch = Watch()
        for number in range(count):
            event = placed(number, None)
            async with connection.transaction():
                await connection.execute(WRITE, *_parts(event))
                if ours:
                    await _service.publish_async(connection, event)
                else:
                    await connection.execute(_INSERTS["asyncpg"], event.customer, _encode(event).decode())
        found = watch.per(count)
        await connection.close()
        return found

    return asyncio.run(work())


def _session(url: str, count: int, *, ours: bool) -> Timing:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    statement = text(_INSERTS["SQLAlchemy Session"])
    with engine.connect():  # the first connection asks the server who it is
        pass
    watch = Watch()
    for number in range(count):
        event = placed(number, None)
        with Session(engine) as session, session.begin():
            session.execute(insert(Receipt).values(order_id=event.order_id, customer=event.customer, total=event.total))
            if ours:
                _service.publish(session, event)
            else:
                session.execute(statement, {"key": event.customer, "body": _encode(event).decode()})
    found = watch.per(count)
    engine.dispose()
    return found
