"""`wait_for`: what a service wrote for a message can be read when it returns."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from eventseam import App, Retry, Service, Settings, WiringError
from tests.support import file
from tests.support.run import make_app, running
from tests.support.talk import PATIENT, Echoed, Said, ears, on_loop


async def test_what_the_service_wrote_can_be_read_when_it_returns(place):
    service = ears()
    on_loop(service, lambda message: None)
    async with running(place, service) as app:
        for n in range(20):
            ids = await app.publish(service, Said("a", n), Said("b", n))
            await app.wait_for(service, *ids)
            assert [n] == file.heard(place, who="a")[-1:]


async def test_it_waits_for_a_service_of_another_process(place):
    service, web = ears(), ears("web")
    on_loop(service, lambda message: None)
    async with make_app(place, service, web).running(only=["web"]) as app:
        ids = await app.publish(web, Said("a", 1))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(app.wait_for(service, *ids, timeout_seconds=20))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            async with make_app(place, service).running():
                await waiting
    assert [1] == file.heard(place)


async def test_a_service_that_does_not_listen_is_done_as_well(place):
    service, deaf = ears(), Service("deaf")
    on_loop(service, lambda message: None)
    async with running(place, service, deaf) as app:
        await app.wait_for(deaf, *await app.publish(service, Said("a", 1)))


async def test_a_message_that_is_to_be_tried_again_is_waited_for(place):
    service, calls = ears(), []

    @service.on(Said, retry=PATIENT)
    async def on_said(message, ctx):
        calls.append(message)
        if len(calls) < 3:
            raise OSError("away")

    async with running(place, service) as app:
        await app.wait_for(service, *await app.publish(service, Said("a", 1)))
        assert 3 == len(calls)


async def test_what_is_missing_is_told_when_time_is_up(place):
    service = ears()

    @service.on(Said, retry=Retry(attempts=1))
    async def on_said(message, ctx):
        raise ValueError("no")

    async with running(place, service) as app:
        ids = await app.publish(service, Said("a", 1))
        with pytest.raises(TimeoutError, match=rf"ears is not done after 0.5 s: {ids[0]} is dead in ears.on_said"):
            await app.wait_for(service, *ids, timeout_seconds=0.5)
        with pytest.raises(TimeoutError, match="m-77 is not in the journal: not committed, or dropped already"):
            await app.wait_for(service, "m-77", timeout_seconds=0.1)


async def test_an_id_may_be_a_uuid_or_be_spelled_as_others_spell_it(place):
    service = ears()
    on_loop(service, lambda message: None)
    async with running(place, service) as app:
        [known] = await app.publish(service, Said("a", 1))
        for each in (uuid.UUID(known), known.upper(), known.replace("-", "")):
            await app.wait_for(service, each)


async def test_an_id_that_a_foreign_program_gave_is_found_as_it_is(tmp_path):
    service = ears()
    on_loop(service, lambda message: None)
    async with running(tmp_path / "db", service) as app:
        for each in ("m-77", "3F2504E0-4F89-11D3-9A0C-0305E82C3301"):
            file.query(
                tmp_path / "db",
                "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, message_id) "
                """VALUES ('talk', 'a', 'talk.said', '{"who": "a", "n": 7}', ?)""",
                each,
            )
            await app.wait_for(service, each)
        await app.wait_for(service, uuid.UUID("3F2504E0-4F89-11D3-9A0C-0305E82C3301"))


async def test_an_id_from_beyond_all_calendars_is_no_error(place):
    service = ears()
    on_loop(service, lambda message: None)
    async with running(place, service) as app:
        with pytest.raises(TimeoutError, match="ffffffff-ffff-7fff-bfff-fffffffffffe is not in the journal"):
            await app.wait_for(service, "ffffffff-ffff-7fff-bfff-fffffffffffe", timeout_seconds=0.1)


async def test_without_any_time_it_looks_once(place):
    service = ears()
    on_loop(service, lambda message: None)
    async with running(place, service) as app:
        ids = await app.publish(service, Said("a", 1))
        await app.wait_for(service, *ids)
        for seconds in (0, -1):
            await app.wait_for(service, *ids, timeout_seconds=seconds)


async def test_a_service_of_another_app_is_refused(place):
    service = ears()
    async with running(place, service) as app:
        with pytest.raises(WiringError, match=r"other is no service of this app. It has: ears"):
            await app.wait_for(Service("other"), "m-1")


async def test_messages_are_found_behind_many_newer_ones(place):
    service = ears()
    on_loop(service, lambda message: None)
    async with running(place, service) as app:
        ids = await app.publish(service, Said("a", 1))
        await app.publish(service, *[Said("b", n) for n in range(2_500)])
        await app.wait_for(service, *ids, timeout_seconds=10)


async def test_with_a_bus_it_waits_for_what_came_by_the_bus(tmp_path, postgres_url):
    service = ears()

    @service.on(Said, Echoed)
    async def on_said(message, ctx):
        ctx.write("INSERT INTO heard (handler, who, n) VALUES ($1, $2, $3)", "hear", message.who, message.n)

    settings = Settings(database=f"sqlite:///{tmp_path / 'own'}", transport=postgres_url, durability="normal")
    async with App(service, settings=settings).running() as app:
        await app.wait_for(service, *await app.publish(service, Said("a", 1)), timeout_seconds=10)
        assert [1] == file.heard(tmp_path / "own")
