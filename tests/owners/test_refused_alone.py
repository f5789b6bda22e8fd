"""What the database refuses again and again, while it takes other work, is its message's own affair: nobody waits."""

from __future__ import annotations

import asyncio

import pytest

from eventseam import Ctx, SyncTx, Tx
from eventseam.ports.probe import HandlerFailed, StorageTrouble
from eventseam.testing.servers import postgres
from tests.support.postgres import heard, insert, query, unsettled
from tests.support.run import running, seen, until
from tests.support.talk import ALWAYS_ON, HEARD, QUICK, Said, ears, hear
from tests.teeth_postgres.ahead import crash

pytestmark = pytest.mark.timeout(90)

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '%s'; END $$"
STATEMENTS = {
    "ends its connection": "SELECT pg_terminate_backend(pg_backend_pid())",
    "says that the disk is full": RAISE % "53100",
    "says that the server shuts down": RAISE % "57P01",
    "says that the protocol is broken": RAISE % "08P01",
    "has a NUL in it": "INSERT INTO th\0anked (n) VALUES (1)",
}
REST = [n for n in range(40) if n != 13]


def by_record(service, statement) -> None:
    @service.on(Said, retry=QUICK, circuit=ALWAYS_ON)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message, "bad")
        if message.n == 13:
            ctx.write(statement)


def in_transaction(service, statement) -> None:
    @service.on_tx(Said, retry=QUICK, circuit=ALWAYS_ON)
    async def on_said(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "bad", message.who, message.n)
        if message.n == 13:
            await tx.execute(statement)


def in_transaction_of_a_thread(service, statement) -> None:
    @service.on_tx(Said, retry=QUICK, circuit=ALWAYS_ON)
    def on_said(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "bad", message.who, message.n)
        if message.n == 13:
            tx.execute(statement)


FORMS = (by_record, in_transaction, in_transaction_of_a_thread)


@pytest.mark.parametrize("declare", FORMS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_a_message_whose_statement_looks_like_trouble_of_the_server_delays_only_its_own_lane(
    postgres_url, declare, statement
):
    bad, good = ears("bad"), ears("good")
    declare(bad, statement)

    @good.on(Said)
    async def listen(message: Said, ctx: Ctx) -> None:
        hear(ctx, message, "good")

    async with running(postgres_url, bad, good) as app:
        await app.publish(bad, *[Said(f"k{n}", n) for n in range(40)], Said("k13", 99))
        await until(lambda: len(heard(postgres_url, "good")) == 41 and len(heard(postgres_url, "bad")) == 39)
        await app.wait_idle()
        failed = seen(app).of(HandlerFailed)
        named = {each.handler for each in seen(app).of(StorageTrouble)}
    assert ([*range(40), 99], REST) == (sorted(heard(postgres_url, "good")), sorted(heard(postgres_url, "bad")))
    assert [("on_said", "k13", "dead", 3), ("on_said", "k13", "waiting", 0)] == unsettled(postgres_url)
    assert {("bad", "on_said", "k13")} == {(each.service, each.handler, each.key) for each in failed}
    if "\0" not in statement and "08P01" not in statement:
        assert "bad.on_said" in named
        assert "the database refused what bad.on_said did" in failed[0].error


async def test_a_handler_whose_every_record_is_refused_stops_nobody_else(postgres_url):
    bad, good = ears("bad"), ears("good")

    @bad.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        ctx.write(RAISE % "53100")

    @good.on(Said)
    async def listen(message: Said, ctx: Ctx) -> None:
        hear(ctx, message, "good")

    async with running(postgres_url, bad, good) as app:
        await app.publish(bad, *[Said(f"k{n}", n) for n in range(40)])
        await until(lambda: len(heard(postgres_url, "good")) == 40)


@pytest.mark.parametrize("declare", FORMS, ids=lambda each: each.__name__)
async def test_a_server_that_crashes_again_and_again_burns_no_attempt(declare):
    service = ears("bad")
    declare(service, "SELECT 1")
    with postgres() as server:
        async with running(server.url, service) as app:
            for n in range(120):
                insert(server.url, f"k{n % 30}", f'{{"who": "k{n % 30}", "n": {n}}}')
                if n % 40 == 39:
                    await asyncio.to_thread(crash, server)
            await until(lambda: len(heard(server.url, "bad")) >= 120)
            await app.wait_idle()
            assert [] == seen(app).of(HandlerFailed)
        assert list(range(120)) == sorted(heard(server.url, "bad"))
        assert [] == query(server.url, "SELECT 1 FROM unsettled")
