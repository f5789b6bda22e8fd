"""A batch handler takes many messages at once; when one is bad, that one pays alone."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from eventseam import Ctx, NotYet
from tests.support.file import heard, insert, query, unsettled
from tests.support.run import running, until
from tests.support.talk import ALWAYS_ON, HEARD, PATIENT, QUICK, Echoed, Said, ears, hear


async def test_a_batch_handler_takes_what_is_ready_up_to_its_maximum(tmp_path):
    service, sizes = ears(), []

    @service.on_batch(Said, max=16)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        sizes.append(len(messages))
        for message in messages:
            hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(64)])
        await app.wait_idle()
    assert list(range(64)) == sorted(heard(tmp_path / "db"))
    assert 1 < max(sizes) <= 16


async def test_a_batch_handler_keeps_the_order_of_each_key(tmp_path):
    service = ears()

    @service.on_batch(Said, max=10)
    def on_said(messages: list[Said], ctx: Ctx) -> None:
        for message in messages:
            hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n % 3}", n) for n in range(60)])
        await app.wait_idle()
    for key in range(3):
        assert list(range(key, 60, 3)) == heard(tmp_path / "db", who=f"k{key}")


async def test_one_bad_message_of_a_batch_pays_alone(tmp_path):
    service = ears()

    @service.on_batch(Said, max=50, retry=QUICK)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        for message in messages:
            if message.n == 7:
                raise ValueError("poison")
            hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(30)])
        await app.wait_idle()
    assert [n for n in range(30) if n != 7] == sorted(heard(tmp_path / "db"))
    assert [("on_said", "k7", "dead", 3)] == unsettled(tmp_path / "db")


async def test_one_bad_write_of_a_batch_pays_alone(tmp_path):
    service = ears()

    @service.on_batch(Said, max=50, retry=QUICK)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        for message in messages:
            ctx.write(HEARD, "hear", None if message.n == 7 else message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(30)])
        await app.wait_idle()
    assert [n for n in range(30) if n != 7] == sorted(heard(tmp_path / "db"))
    assert [("on_said", "k7", "dead", 3)] == unsettled(tmp_path / "db")


async def test_one_unreadable_message_of_a_batch_pays_alone(tmp_path):
    service = ears()

    @service.on_batch(Said, max=50)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        for message in messages:
            hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        insert(tmp_path / "db", "bad", '"no message"')
        await app.publish(service, *[Said(f"k{n}", n) for n in range(30)])
        await app.wait_idle()
    assert list(range(30)) == sorted(heard(tmp_path / "db"))
    assert [("on_said", "bad", "dead", 1)] == unsettled(tmp_path / "db")


async def test_a_batch_of_which_the_inbox_knows_a_part_applies_only_the_rest(tmp_path):
    service = ears()

    @service.on_batch(Said, max=50)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        for message in messages:
            hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(5)])
        await app.wait_idle()
        connection_rows = query(tmp_path / "db", "SELECT message_id FROM event_outbox ORDER BY id")
        values = ", ".join(
            f"""('talk', 'new{n}', 'talk.said', '{{"who":"new{n}","n":{10 + n}}}', '{message_id}')"""
            for n, message_id in enumerate([connection_rows[1][0], uuid4(), connection_rows[3][0], uuid4()])
        )
        query(
            tmp_path / "db",
            f"INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, message_id) VALUES {values}",
        )
        await app.wait_idle()
    assert [0, 1, 2, 3, 4, 11, 13] == sorted(heard(tmp_path / "db"))


async def test_a_batch_that_comes_early_waits_message_by_message(tmp_path):
    service, early = ears(), True

    @service.on_batch(Said, max=50, retry=PATIENT, circuit=ALWAYS_ON)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        if early:
            raise NotYet("later")
        for message in messages:
            hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(5)])
        await until(lambda: len(unsettled(tmp_path / "db")) == 5)
        early = False
        await app.wait_idle()
    assert list(range(5)) == sorted(heard(tmp_path / "db"))


async def test_a_batch_may_publish_and_its_events_follow_once(tmp_path):
    service = ears()

    @service.on_batch(Said, max=50)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        await asyncio.sleep(0)
        for message in messages:
            ctx.publish(Echoed(message.who, message.n))

    @service.on(Echoed)
    async def on_echoed(message: Echoed, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(30)])
        await app.wait_idle()
    assert list(range(30)) == sorted(heard(tmp_path / "db"))
