"""G2 and G3: every handler gets every event, each key in the order of its appends, through retries and restarts."""

from __future__ import annotations

import random

from eventseam import Ctx
from tests.support.file import heard, query, unfinished, unsettled
from tests.support.run import running, until
from tests.support.talk import ALWAYS_ON, PATIENT, QUICK, Said, ears, hear

KEYS = ("ann", "bob", "cid", "dan", "eve")


async def test_every_key_keeps_its_order_through_random_failures(tmp_path):
    chance = random.Random(7)
    service = ears()

    @service.on(Said, retry=PATIENT, circuit=ALWAYS_ON)
    async def on_loop(message: Said, ctx: Ctx) -> None:
        if chance.random() < 0.2:
            raise ConnectionError(message.who)
        hear(ctx, message, "loop")

    @service.on(Said, retry=PATIENT, circuit=ALWAYS_ON)
    def in_thread(message: Said, ctx: Ctx) -> None:
        if chance.random() < 0.1:
            raise ConnectionError(message.who)
        hear(ctx, message, "thread")

    async with running(tmp_path / "db", service) as app:
        for n in range(20):
            await app.publish(service, *[Said(key, n) for key in KEYS])
        await app.wait_idle()
    for key in KEYS:
        assert list(range(20)) == heard(tmp_path / "db", "loop", key)
        assert list(range(20)) == heard(tmp_path / "db", "thread", key)


async def test_a_failing_handler_does_not_concern_the_other_handlers_of_its_message(tmp_path):
    service, calls = ears(), []

    @service.on(Said, retry=QUICK, circuit=ALWAYS_ON)
    async def failing(message: Said) -> None:
        raise ValueError("always")

    @service.on(Said)
    async def fine(message: Said, ctx: Ctx) -> None:
        calls.append(message.n)
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(5)])
        await app.wait_idle()
    assert list(range(5)) == sorted(calls) == sorted(heard(tmp_path / "db"))
    assert {("failing", "dead")} == {(handler, state) for handler, _, state, _ in unsettled(tmp_path / "db")}


async def test_two_services_each_apply_every_event_once(tmp_path):
    services = [ears("left"), ears("right")]
    for service in services:

        @service.on(Said)
        async def listen(message: Said, ctx: Ctx, name: str = service.name) -> None:
            hear(ctx, message, name)

    async with running(tmp_path / "db", *services) as app:
        await app.publish(services[0], *[Said("ann", n) for n in range(30)])
        await app.wait_idle()
    assert list(range(30)) == heard(tmp_path / "db", "left") == heard(tmp_path / "db", "right")


async def test_what_is_unsettled_survives_a_restart_and_keeps_its_order(tmp_path):
    broken = True

    def service():
        made = ears()

        @made.on(Said, retry=PATIENT)
        async def on_said(message: Said, ctx: Ctx) -> None:
            if broken and message.who == "ann":
                raise ConnectionError("down")
            hear(ctx, message)

        return made

    async with running(tmp_path / "db", service()) as app:
        await app.publish(app.services[0], *[Said("ann", n) for n in range(3)], Said("bob", 9))
        await until(lambda: len(unsettled(tmp_path / "db")) == 3 and heard(tmp_path / "db", who="bob"))
    broken = False
    async with running(tmp_path / "db", service()) as app:
        await app.publish(app.services[0], *[Said("ann", n) for n in range(3, 6)])
        await app.wait_idle()
    assert list(range(6)) == heard(tmp_path / "db", who="ann")
    assert [9] == heard(tmp_path / "db", who="bob")
    assert [] == unsettled(tmp_path / "db")


async def test_a_restart_applies_nothing_again(tmp_path):
    calls = []
    for _ in range(3):
        service = ears()

        @service.on(Said)
        async def on_said(message: Said, ctx: Ctx) -> None:
            calls.append(message.n)
            hear(ctx, message)

        async with running(tmp_path / "db", service) as app:
            await app.publish(service, *[Said("ann", n) for n in range(5)])
            await app.wait_idle()
    assert 15 == len(calls)
    assert [*range(5)] * 3 == heard(tmp_path / "db")


async def test_an_event_that_comes_twice_with_one_id_is_applied_once(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann", 1))
        await app.wait_idle()
        for _ in range(2):
            query(
                tmp_path / "db",
                "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, message_id) "
                "SELECT aggregate_type, aggregate_id, event_type, payload, message_id FROM event_outbox WHERE id = 1",
            )
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")
    assert 0 == unfinished(tmp_path / "db")


async def test_an_app_with_a_service_that_only_publishes_becomes_idle_and_lets_the_journal_be_trimmed(tmp_path):
    mouth, service = ears("mouth"), ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", mouth, service) as app:
        await app.publish(mouth, Said("ann", 1))
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")
    assert 0 == unfinished(tmp_path / "db")
