"""`call`: the answer of a command's handler, committed when it is returned."""

from __future__ import annotations

import asyncio
import sqlite3

import asyncpg
import pytest

from eventseam import Ctx, EventseamError, LaneParked, Refused, SyncTx, Tx, WiringError
from tests.support.file import heard, query, unsettled
from tests.support.run import make_app, running, until
from tests.support.talk import HEARD, QUICK, Echoed, Said, Say, ears, hear


async def test_a_call_returns_the_answer_when_it_is_committed(tmp_path):
    service = ears()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> str:
        hear(ctx, command)
        return f"{command.who} said {command.n}"

    async with running(tmp_path / "db", service) as app:
        assert "ann said 3" == await app.call(say, Say("ann", 3))
        assert [3] == heard(tmp_path / "db")
    assert [] == query(tmp_path / "db", "SELECT * FROM event_outbox")


async def test_a_call_works_in_every_colour(tmp_path):
    answers = []
    for colour in ("def", "tx", "sync tx"):
        service = ears()
        if colour == "def":

            @service.handle(Say)
            def say(command: Say, ctx: Ctx) -> str:
                hear(ctx, command)
                return "def"

        elif colour == "tx":

            @service.handle_tx(Say)
            async def say(command: Say, tx: Tx) -> str:
                return str(await tx.execute(HEARD, "hear", command.who, command.n))

        else:

            @service.handle_tx(Say)
            def say(command: Say, tx: SyncTx) -> str:
                return str(tx.execute(HEARD, "hear", command.who, command.n))

        async with running(tmp_path / "db", service) as app:
            answers.append(await app.call(say, Say("ann", len(answers))))
    assert ["def", "1", "1"] == answers
    assert [0, 1, 2] == heard(tmp_path / "db")


async def test_a_call_raises_what_the_handler_raises_and_is_not_tried_again(tmp_path):
    service, calls = ears(), []

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> None:
        calls.append(command)
        raise LookupError("no such shelf")

    async with running(tmp_path / "db", service) as app:
        with pytest.raises(LookupError, match="no such shelf"):
            await app.call(say, Say("ann"))
        await app.wait_idle()
    assert 1 == len(calls)
    assert [] == unsettled(tmp_path / "db")


async def test_a_call_raises_the_error_of_a_write_that_cannot_be_applied(tmp_path):
    service = ears()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> None:
        ctx.write(HEARD, "hear", None, 1)

    async with running(tmp_path / "db", service) as app:
        with pytest.raises((sqlite3.IntegrityError, asyncpg.IntegrityConstraintViolationError)):
            await app.call(say, Say("ann"))


async def test_a_call_raises_a_refusal_whose_event_is_committed(tmp_path):
    service = ears()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> None:
        hear(ctx, command)
        raise Refused(Echoed(command.who, 7))

    async with running(tmp_path / "db", service) as app:
        with pytest.raises(Refused) as caught:
            await app.call(say, Say("ann"))
        assert Echoed("ann", 7) == caught.value.event
    assert [("echo.echoed",)] == query(tmp_path / "db", "SELECT event_type FROM event_outbox")
    assert [] == heard(tmp_path / "db")


async def test_a_call_on_a_parked_lane_says_so(tmp_path):
    service = ears()

    @service.handle(Say, retry=QUICK)
    async def say(command: Say, ctx: Ctx) -> None:
        if command.n == 0:
            raise ValueError("poison")

    async with running(tmp_path / "db", service) as app:
        await app.send(service, Say("ann", 0))
        await app.wait_idle()
        with pytest.raises(LaneParked, match="eventseam dlq list"):
            await app.call(say, Say("ann", 1))
        await app.call(say, Say("bob", 1))


async def test_a_call_that_waits_behind_a_message_that_fails_gets_lane_parked(tmp_path):
    service, go, started = ears(), asyncio.Event(), asyncio.Event()

    @service.handle(Say, retry=QUICK)
    async def say(command: Say, ctx: Ctx) -> None:
        if command.n == 0:
            started.set()
            await go.wait()
            raise ValueError("poison")

    async with running(tmp_path / "db", service) as app, asyncio.TaskGroup() as group:
        await app.send(service, Say("ann", 0))
        await started.wait()
        waiting = group.create_task(_caught(app.call(say, Say("ann", 1))))
        given_up = asyncio.ensure_future(app.call(say, Say("ann", 2)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        go.set()
        assert LaneParked is type(await waiting)
        await app.call(say, Say("bob", 1))


async def _caught(call):
    try:
        return await call
    except EventseamError as error:
        return error


async def test_calls_of_one_key_run_one_after_another(tmp_path):
    service, running_now = ears(), set()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> int:
        assert command.who not in running_now
        running_now.add(command.who)
        await asyncio.sleep(0.001)
        running_now.discard(command.who)
        hear(ctx, command)
        return command.n

    async with running(tmp_path / "db", service) as app:
        await app.wait_idle()  # who is not the owner yet asks the database first, and its answers come in any order
        answers = await asyncio.gather(*[app.call(say, Say(f"k{n % 3}", n)) for n in range(30)])
    assert list(range(30)) == answers
    for key in range(3):
        assert list(range(key, 30, 3)) == heard(tmp_path / "db", who=f"k{key}")


async def test_a_call_that_is_cancelled_hurts_nobody(tmp_path):
    service, go = ears(), asyncio.Event()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> int:
        await go.wait()
        hear(ctx, command)
        return command.n

    async with running(tmp_path / "db", service) as app:
        calls = [asyncio.ensure_future(app.call(say, Say("ann", n))) for n in range(3)]
        await asyncio.sleep(0.01)
        calls[0].cancel()
        calls[1].cancel()
        go.set()
        assert 2 == await calls[2]


async def test_a_call_that_waits_behind_a_message_of_an_owner_that_was_fenced_is_answered(tmp_path):
    service, go, started = ears(), asyncio.Event(), asyncio.Event()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> int:
        if command.n == 0:
            started.set()
            await go.wait()
        hear(ctx, command)
        return command.n

    async with running(tmp_path / "db", service, lease_seconds=0.3) as app:
        await app.send(service, Say("ann", 0))
        await started.wait()
        call = asyncio.ensure_future(app.call(say, Say("ann", 1)))
        query(tmp_path / "db", "UPDATE positions SET owner = NULL, rev = rev + 1")
        await app.send(service, Say("bob", 9))
        go.set()
        async with asyncio.timeout(10):
            assert 1 == await call
        await app.wait_idle()
    assert [0, 1, 9] == sorted(heard(tmp_path / "db"))


async def test_a_call_says_what_is_missing(tmp_path):
    service, other = ears(), ears("other")

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> None: ...

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None: ...

    app = make_app(tmp_path / "db", service, other)
    with pytest.raises(EventseamError, match="not running"):
        await app.call(say, Say("ann"))
    async with app.running(only=["other"]):
        with pytest.raises(WiringError, match="does not run in this process"):
            await app.call(say, Say("ann"))
        with pytest.raises(WiringError, match="is no handler of this app"):
            await app.call(ears, Say("ann"))  # type: ignore[arg-type]
        with pytest.raises(WiringError, match="handles events"):
            await app.call(on_said, Say("ann"))  # type: ignore[arg-type]


async def test_what_a_call_publishes_follows(tmp_path):
    service = ears()

    @service.handle(Say)
    async def say(command: Say, ctx: Ctx) -> None:
        ctx.publish(Said(command.who, command.n))

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.call(say, Say("ann", 5))
        await until(lambda: heard(tmp_path / "db") == [5])
