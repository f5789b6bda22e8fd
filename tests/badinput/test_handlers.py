"""Handlers that do what no handler should: each pays alone, the engine goes on, the cause is kept."""

from __future__ import annotations

import asyncio
import sys

import pytest

from eventseam import Ctx, NotYet, Refused, SyncTx, Tx
from tests.support.file import heard, query, unsettled
from tests.support.run import running
from tests.support.talk import ALWAYS_ON, COLOURS, HEARD, QUICK, Said, ears, hear


class Rude(Exception):  # noqa: N818 - an error without manners
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Chatty(Exception):  # noqa: N818 - an error that says too much
    def __str__(self) -> str:
        return "\ud800\0" + "x" * 10_000_000


class OutsideOfException(BaseException):
    pass


def _raise(error):
    raise error


def _exit():
    sys.exit(3)


def _next_of_nothing():
    return next(iter([]))


def _recurse():
    return _recurse()


DEEDS = {
    "an error": lambda: _raise(ValueError("no")),
    "an error without text": lambda: _raise(Rude()),
    "an error with too much text": lambda: _raise(Chatty()),
    "SystemExit": _exit,
    "CancelledError": lambda: _raise(asyncio.CancelledError()),
    "TimeoutError": lambda: _raise(TimeoutError()),
    "StopIteration": _next_of_nothing,
    "StopAsyncIteration": lambda: _raise(StopAsyncIteration()),
    "an exception group": lambda: _raise(BaseExceptionGroup("two", [ValueError("a"), OutsideOfException()])),
    "what is not even an Exception": lambda: _raise(OutsideOfException("out")),
    "endless recursion": _recurse,
    "a refusal with no message": lambda: _raise(Refused("sorry")),
    "a refusal with nothing": lambda: _raise(Refused(None)),
    "a refusal that does not fit its contract": lambda: _raise(Refused(Said("", 1))),
    "MemoryError": lambda: _raise(MemoryError()),
}


@pytest.mark.parametrize("colour", COLOURS)
async def test_whatever_a_handler_raises_is_its_own_messages_failure(tmp_path, colour):
    service = ears()
    colour(service, lambda message: message.who in DEEDS and DEEDS[message.who](), retry=QUICK, circuit=ALWAYS_ON)

    async with running(tmp_path / "db", service) as app:
        for n, deed in enumerate(DEEDS):
            await app.publish(service, Said(f"k{n}", n), Said(deed, 99), Said(deed, 100))
        await app.wait_idle()
        await app.publish(service, Said("last", len(DEEDS)))
        await app.wait_idle()
    assert list(range(len(DEEDS) + 1)) == sorted(heard(tmp_path / "db"))
    expected = {(deed, state, attempts) for deed in DEEDS for state, attempts in (("dead", 3), ("waiting", 0))}
    assert expected == {(lane, state, attempts) for _, lane, state, attempts in unsettled(tmp_path / "db")}


def _generator():
    yield 1


async def _coroutine():
    return 1


class Later:
    def __await__(self):
        return iter(())


class Hostile:
    def __getattr__(self, name):
        raise ZeroDivisionError(name)


ANSWERS = {
    "a value": lambda: 5,
    "a generator": _generator,
    "a coroutine": _coroutine,
    "an awaitable": Later,
    "an object whose attributes raise": Hostile,
}


async def test_an_answer_that_nobody_can_use_is_its_own_messages_failure(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK, circuit=ALWAYS_ON)
    async def on_loop(message: Said, ctx: Ctx):
        hear(ctx, message, "loop")
        return ANSWERS[message.who]() if message.who in ANSWERS else None

    @service.on(Said, retry=QUICK, circuit=ALWAYS_ON)
    def in_thread(message: Said, ctx: Ctx):
        hear(ctx, message, "thread")
        return ANSWERS[message.who]() if message.who in ANSWERS else None

    async with running(tmp_path / "db", service) as app:
        for n, answer in enumerate(ANSWERS):
            await app.publish(service, Said(f"k{n}", n), Said(answer, 99))
        await app.wait_idle()
    assert [0, 1, 2, 3, 4] == sorted(heard(tmp_path / "db", "loop")) == sorted(heard(tmp_path / "db", "thread"))
    expected = {(handler, answer, "dead", 3) for handler in ("on_loop", "in_thread") for answer in ANSWERS}
    assert expected == set(unsettled(tmp_path / "db"))


async def test_what_an_error_says_is_stored_bounded_and_as_text(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said) -> None:
        raise Chatty

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
    ((message,),) = query(tmp_path / "db", "SELECT error_message FROM unsettled")
    assert message.startswith("\\ud800\\0xxx")
    assert len(message) < 5_000


ENDS = ("COMMIT", "COMMIT TRANSACTION", "-- so\n;/* x */ rollback transaction", "END", "end transaction", "SAVEPOINT a")


@pytest.mark.parametrize("statement", ENDS)
async def test_a_transaction_is_not_the_handlers_to_end(tmp_path, statement):
    service = ears()

    @service.on_tx(Said, retry=QUICK)
    async def on_loop(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "loop", message.who, message.n)
        await tx.execute(statement)
        raise ValueError("after all that")

    @service.on_tx(Said, retry=QUICK)
    def in_thread(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "thread", message.who, message.n)
        tx.execute(statement)
        raise ValueError("after all that")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
        await app.publish(service, Said("bob"))
        await app.wait_idle()
    assert [] == query(tmp_path / "db", "SELECT * FROM heard")
    assert {"dead"} == {state for _, _, state, _ in unsettled(tmp_path / "db")}
    assert 4 == len(unsettled(tmp_path / "db"))


async def test_a_deadline_that_is_no_number_is_its_own_messages_failure(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "bad":
            raise NotYet("later", within_seconds="soon")  # type: ignore[arg-type]
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("bad"), Said("ann", 1))
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")
    assert ["dead"] == [state for _, _, state, _ in unsettled(tmp_path / "db")]
