"""G1 and G7: an event is recorded with the state change or not at all, and knows the flow that it belongs to."""

from __future__ import annotations

import contextlib

import pytest

from eventseam import Ctx, SyncTx, Tx
from eventseam.delivery.handler import outgoing
from eventseam.ports.probe import StorageTrouble
from tests.support.file import heard, query, unsettled
from tests.support.run import running, seen
from tests.support.talk import HEARD, QUICK, Echoed, Said, ears, hear


async def test_what_a_handler_wrote_and_published_is_there_once_it_is_handled(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)
        ctx.publish(Echoed(message.who, message.n))

    @service.on(Echoed)
    def on_echoed(message: Echoed, ctx: Ctx) -> None:
        hear(ctx, message, "echo")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said("ann", n) for n in range(20)])
        await app.wait_idle()
    assert list(range(20)) == heard(tmp_path / "db")
    assert list(range(20)) == heard(tmp_path / "db", "echo")


async def test_a_handler_that_raises_leaves_neither_its_writes_nor_its_events(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)
        ctx.publish(Echoed(message.who))
        raise ValueError("after all that")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
    assert [] == heard(tmp_path / "db")
    assert [("talk.said",)] == query(tmp_path / "db", "SELECT event_type FROM event_outbox")


async def test_a_tx_handler_that_raises_leaves_neither_its_writes_nor_its_events(tmp_path):
    service = ears()

    @service.on_tx(Said, retry=QUICK)
    async def on_loop(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "loop", message.who, message.n)
        tx.publish(Echoed(message.who))
        raise ValueError("after all that")

    @service.on_tx(Said, retry=QUICK)
    def in_thread(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "thread", message.who, message.n)
        tx.publish(Echoed(message.who))
        raise ValueError("after all that")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
    assert [] == query(tmp_path / "db", "SELECT * FROM heard")
    assert [("talk.said",)] == query(tmp_path / "db", "SELECT event_type FROM event_outbox")
    assert [("in_thread", "ann", "dead", 3), ("on_loop", "ann", "dead", 3)] == sorted(unsettled(tmp_path / "db"))


async def test_tx_handlers_read_their_own_writes_and_publish_with_them(tmp_path):
    service = ears()

    @service.on_tx(Said)
    async def on_loop(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "loop", message.who, message.n)
        row = await tx.fetch_one("SELECT count(*) AS total FROM heard WHERE handler = $1", "loop")
        assert row is not None
        tx.publish(Echoed(message.who, row["total"]))

    @service.on_tx(Said)
    def in_thread(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "thread", message.who, message.n)
        row = tx.fetch_one("SELECT count(*) AS total FROM heard WHERE handler = $1", "thread")
        assert row is not None
        tx.publish(Echoed(message.who, row["total"]))

    @service.on(Echoed)
    def on_echoed(message: Echoed, ctx: Ctx) -> None:
        hear(ctx, message, "echo")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said("ann", n) for n in range(5)])
        await app.wait_idle()
    assert list(range(5)) == heard(tmp_path / "db", "loop") == heard(tmp_path / "db", "thread")
    assert sorted([*range(1, 6), *range(1, 6)]) == sorted(heard(tmp_path / "db", "echo"))


async def test_a_transaction_of_the_app_that_fails_publishes_nothing(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        with contextlib.suppress(ZeroDivisionError):
            async with app.transaction(service) as tx:
                await tx.execute(HEARD, "tx", "ann", 1)
                tx.publish(Said("ann", 1))
                raise ZeroDivisionError
        async with app.transaction(service) as tx:
            await tx.execute(HEARD, "tx", "ann", 2)
            tx.publish(Said("ann", 2))
        await app.wait_idle()
    assert [2] == heard(tmp_path / "db", "tx") == heard(tmp_path / "db")


async def test_nothing_of_an_open_transaction_is_seen_before_it_commits(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.wait_idle()
        async with app.transaction(service) as tx:
            await tx.execute(HEARD, "tx", "ann", 1)
            tx.publish(Said("ann", 1))
            assert [] == query(tmp_path / "db", "SELECT * FROM heard")
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")


async def test_an_event_carries_the_flow_of_what_caused_it(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        ctx.publish(Echoed(message.who))

    async with running(tmp_path / "db", service) as app:
        (first,) = await app.publish(service, Said("ann"))
        await app.wait_idle()
    columns = "CAST(message_id AS TEXT), correlation_id, causation_id, trace, source"
    said, echoed = query(tmp_path / "db", f"SELECT {columns} FROM event_outbox ORDER BY id")
    assert (first, first, None) == said[:3]
    assert (first, first) == echoed[1:3]
    assert said[3] == echoed[3]
    assert f"00-{first.replace('-', '')}" == echoed[3][:35]
    assert "ears" == echoed[4]


async def test_a_message_is_encoded_when_it_is_published(tmp_path):
    assert b'{"who":"ann","n":3}' == outgoing(Said("ann", 3)).body


@pytest.mark.parametrize("tmp_path", ["sqlite"], indirect=True)
async def test_a_tx_handler_that_meets_trouble_of_the_database_is_tried_again_without_burning_an_attempt(tmp_path):
    service, calls = ears(), []

    @service.on_tx(Said, retry=QUICK)
    def on_said(message: Said, tx: SyncTx) -> None:
        calls.append(tx.attempt)
        if len(calls) < 3:
            tx.execute("PRAGMA max_page_count = 1")  # no smaller than it is: the next page is one too many
            tx.execute("INSERT INTO heard (handler, who, n) VALUES ('big', randomblob(100000), 1)")
        tx.execute("PRAGMA max_page_count = 1073741823")
        tx.execute(HEARD, "hear", message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann", 1))
        await app.wait_idle()
        assert 2 == len(seen(app).of(StorageTrouble))
    assert [1] == heard(tmp_path / "db")
    assert [1, 1, 1] == calls
