"""G4: a poison message delays only its own lane, is kept whole, and is settled by a decision of people."""

from __future__ import annotations

import asyncio
import json
import time

from eventseam import Ctx, NotYet, Refused, SyncTx
from eventseam.delivery.unsettled import Filter
from eventseam.ports.probe import HandlerFailed
from tests.support.file import discard_now, heard, insert, query, redrive_now, shown, unsettled
from tests.support.run import running, seen, until
from tests.support.talk import ALWAYS_ON, HEARD, PATIENT, QUICK, Echoed, Said, ears, hear


async def test_a_poison_message_delays_only_its_own_lane(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message == Said("ann", 1):
            raise ValueError("poison")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        for n in range(4):
            await app.publish(service, Said("ann", n), Said("bob", n))
        await app.wait_idle()
    assert [0] == heard(tmp_path / "db", who="ann")
    assert [0, 1, 2, 3] == heard(tmp_path / "db", who="bob")
    lanes = [("on_said", "ann", "dead", 3), ("on_said", "ann", "waiting", 0), ("on_said", "ann", "waiting", 0)]
    assert lanes == unsettled(tmp_path / "db")


async def test_a_dead_letter_keeps_cause_attempts_origin_and_raw_bytes(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        raise LookupError("no such shelf")

    before = time.time()
    async with running(tmp_path / "db", service) as app:
        (message_id,) = await app.publish(service, Said("ann", 7))
        await app.wait_idle()
    row = shown(tmp_path / "db", 1)
    assert ("dead", 3, "LookupError", "no such shelf") == (
        row.state,
        row.attempts,
        row.error_class,
        row.error_message,
    )
    assert {"who": "ann", "n": 7} == json.loads(row.body or b"")
    assert (message_id, "talk.said", "talk", "ears", "ann") == (
        row.envelope.id,
        row.envelope.type,
        row.envelope.channel,
        row.envelope.source,
        row.envelope.key,
    )
    assert "in on_said" in (row.error_trace or "")
    assert before <= row.since <= time.time()


async def test_each_failed_attempt_is_seen_with_what_follows(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        raise ValueError("poison")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
        found = [(each.attempt, each.next_step, each.error) for each in seen(app).of(HandlerFailed)]
    cause = "ValueError: poison"
    assert [(1, "retrying", cause), (2, "retrying", cause), (3, "dead", cause)] == found


async def test_redriving_from_another_process_applies_once_and_before_what_waits_behind(tmp_path):
    broken, calls = True, []
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        calls.append(message.n)
        if broken and message.n == 1:
            raise ValueError("a bug")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said("ann", n) for n in range(4)])
        await app.wait_idle()
        assert [0] == heard(tmp_path / "db")
        broken = False
        assert 1 == redrive_now(tmp_path / "db", Filter(service="ears"), time.time())
        await app.publish(service, Said("ann", 4))
        await app.wait_idle()
        assert [0, 1, 2, 3, 4] == heard(tmp_path / "db")
        assert [] == unsettled(tmp_path / "db")
        await app.publish(service, Said("ann", 5))
        await app.wait_idle()
    assert [0, 1, 1, 1, 1, 2, 3, 4, 5] == calls


async def test_a_redriven_message_gets_all_its_attempts_again(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        raise ValueError("poison")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
        redrive_now(tmp_path / "db", Filter(), time.time())
        await app.wait_idle()
        assert 6 == len(seen(app).of(HandlerFailed))
    assert [("on_said", "ann", "dead", 3)] == unsettled(tmp_path / "db")


async def test_discarding_a_dead_letter_lets_the_rest_of_its_lane_go_on(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.n == 0:
            raise ValueError("poison")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said("ann", n) for n in range(4)])
        await app.wait_idle()
        assert 1 == discard_now(tmp_path / "db", [1], time.time())
        await app.wait_idle()
        assert [1, 2, 3] == heard(tmp_path / "db")
        await app.publish(service, Said("ann", 4))
        await app.wait_idle()
    assert [1, 2, 3, 4] == heard(tmp_path / "db")
    assert [] == unsettled(tmp_path / "db")


async def test_discarding_a_message_that_is_running_drops_what_it_recorded(tmp_path):

    service, go, running_now = ears(), asyncio.Event(), asyncio.Event()

    @service.on(Said, retry=PATIENT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if ctx.attempt == 1:
            raise ValueError("at first")
        if message.n == 0:
            running_now.set()
            await go.wait()
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann", 0), Said("ann", 1))
        await running_now.wait()
        discard_now(tmp_path / "db", [1], time.time())
        go.set()
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")


async def test_two_lanes_that_are_dead_are_redriven_one_by_one(tmp_path):
    broken = True
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if broken:
            raise ValueError("a bug")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"), Said("bob"))
        await app.wait_idle()
        broken = False
        redrive_now(tmp_path / "db", Filter(ids=(2,)), time.time())
        await app.wait_idle()
    assert ([], [0]) == (heard(tmp_path / "db", who="ann"), heard(tmp_path / "db", who="bob"))


async def test_not_yet_burns_no_attempt_and_waits_in_its_lane(tmp_path):
    tries = 0
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        nonlocal tries
        tries += 1
        assert 1 == ctx.attempt
        if tries <= 6:
            raise NotYet("the parcel is on its way")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann", 1), Said("ann", 2))
        await app.wait_idle()
    assert [1, 2] == heard(tmp_path / "db")
    assert 8 == tries


async def test_not_yet_ends_as_a_dead_letter_at_its_deadline(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        raise NotYet("the parcel is on its way", within_seconds=0.2)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
    columns = "state, attempts, error_class, error_message"
    rows = query(tmp_path / "db", f"SELECT {columns} FROM unsettled")
    assert [("dead", 0, "NotYet", "the parcel is on its way")] == rows


async def test_a_refusal_publishes_its_event_settles_the_message_and_undoes_what_was_recorded(tmp_path):
    service, calls = ears(), []

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        calls.append(message)
        hear(ctx, message)
        ctx.publish(Echoed(message.who, 99))
        raise Refused(Echoed(message.who, 1))

    @service.on(Echoed)
    async def on_echoed(message: Echoed, ctx: Ctx) -> None:
        hear(ctx, message, "echo")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
    assert ([], [1]) == (heard(tmp_path / "db"), heard(tmp_path / "db", "echo"))
    assert 1 == len(calls)
    assert [] == unsettled(tmp_path / "db")


async def test_a_refusal_in_a_transaction_undoes_its_writes_and_publishes_its_event(tmp_path):
    service = ears()

    @service.on_tx(Said)
    def on_said(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "hear", message.who, message.n)
        raise Refused(Echoed(message.who, 1))

    @service.on(Echoed)
    async def on_echoed(message: Echoed, ctx: Ctx) -> None:
        hear(ctx, message, "echo")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
    assert ([], [1]) == (heard(tmp_path / "db"), heard(tmp_path / "db", "echo"))


async def test_an_error_that_trying_again_cannot_help_is_dead_at_once(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        insert(tmp_path / "db", "ann", '{"who": 5}')
        await app.wait_idle()
        assert ["dead"] == [each.next_step for each in seen(app).of(HandlerFailed)]
    assert [("on_said", "ann", "dead", 1)] == unsettled(tmp_path / "db")


async def test_many_slow_retries_of_one_handler_do_not_hold_up_the_retries_of_another(tmp_path):

    service, release = ears(), asyncio.Event()

    @service.on(Said, retry=PATIENT, circuit=ALWAYS_ON)
    async def slow(message: Said, ctx: Ctx) -> None:
        if ctx.attempt == 1:
            raise ValueError("at first")
        await release.wait()

    @service.on(Echoed, retry=PATIENT, circuit=ALWAYS_ON)
    async def quick(message: Echoed, ctx: Ctx) -> None:
        if ctx.attempt == 1:
            raise ValueError("at first")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}") for n in range(300)])
        await until(lambda: len(unsettled(tmp_path / "db")) == 300)
        await app.publish(service, Echoed("ann", 1))
        await until(lambda: heard(tmp_path / "db") == [1])
        release.set()
