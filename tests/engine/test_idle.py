"""Waiting for an idle app: it tells what is missing, and it works where another process does the work."""

from __future__ import annotations

import asyncio

import pytest

from eventseam import Ctx, Retry, StorageUnavailable
from eventseam.ports.probe import Orphaned
from tests.support.file import heard, query, unsettled
from tests.support.run import make_app, running, seen, until
from tests.support.talk import QUICK, Said, ears, hear, on_loop

LATER = Retry(first_seconds=3_600, max_seconds=3_600)


def _fail(message):
    raise ValueError(message)


async def test_an_app_that_stands_by_is_idle_when_the_owner_has_handled_everything(tmp_path):
    service = ears()
    on_loop(service, lambda message: None)
    standby = make_app(tmp_path / "db", service)
    async with running(tmp_path / "db", service) as owner:
        await owner.wait_idle()
        async with standby.running():
            await standby.publish(service, *[Said("ann", n) for n in range(20)])
            await standby.wait_idle(10)
            assert list(range(20)) == heard(tmp_path / "db")
            await owner.wait_idle(10)


async def test_an_app_that_stands_by_is_not_idle_while_the_owner_works(tmp_path):
    service, gate = ears(), asyncio.Event()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        await gate.wait()
        hear(ctx, message)

    standby = make_app(tmp_path / "db", service)
    async with running(tmp_path / "db", service) as owner:
        await owner.wait_idle()
        async with standby.running():
            await owner.publish(service, Said("ann"))
            with pytest.raises(TimeoutError, match=r"ears is behind by 1 \(its owner: .+\). See: eventseam lag"):
                await standby.wait_idle(0.2)
            gate.set()
            await standby.wait_idle(10)


async def test_who_waits_in_vain_is_told_what_is_behind_and_what_is_to_be_tried_again(tmp_path):
    service, gate = ears(), asyncio.Event()

    @service.on(Said, retry=LATER)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "bob":
            raise ValueError(message)
        await gate.wait()
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.publish(service, Said("bob"))
        await until(lambda: unsettled(tmp_path / "db"))
        with pytest.raises(TimeoutError) as raised:
            await app.wait_idle(0.2)
        gate.set()
    assert "not idle after 0.2 s: ears is behind by " in str(raised.value)
    assert "; ears.on_said has 1 to try again. See: eventseam lag" in str(raised.value)


async def test_the_messages_of_a_handler_that_is_gone_are_told_once_at_start(tmp_path):
    path, service = tmp_path / "db", ears()
    on_loop(service, _fail, retry=LATER, name="old")
    on_loop(service, _fail, retry=QUICK, name="kept")
    async with running(path, service) as app:
        await app.publish(service, Said("ann", 1), Said("ann", 2), Said("bob", 3))
        await until(lambda: 6 == len(unsettled(path)))
        assert [] == seen(app).of(Orphaned)
    renamed = ears()
    on_loop(renamed, lambda message: None, name="new")
    on_loop(renamed, lambda message: None, retry=QUICK, name="kept")
    async with running(path, renamed) as app:
        assert [Orphaned("ears", "old", 3)] == seen(app).of(Orphaned)
        with pytest.raises(TimeoutError, match=r"ears\.old has 2 to try again, but the code has no such handler"):
            await app.wait_idle(0.5)
    assert [("old", 3)] == query(path, "SELECT handler, count(*) FROM unsettled WHERE handler = 'old' GROUP BY handler")


async def test_a_handler_that_is_named_as_the_old_one_takes_over_its_messages(tmp_path):
    path, service = tmp_path / "db", ears()
    on_loop(service, _fail, retry=Retry(attempts=1_000, first_seconds=0.02, max_seconds=0.05), name="old")
    async with running(path, service) as app:
        await app.publish(service, Said("ann", 1))
        await until(lambda: unsettled(path))
    renamed = ears()
    on_loop(renamed, lambda message: None, name="old")
    async with running(path, renamed) as app:
        await app.wait_idle()
        assert [] == seen(app).of(Orphaned)
    assert [1] == heard(path)


async def test_a_database_in_trouble_is_waited_out(tmp_path, monkeypatch):
    path, service, errors = tmp_path / "db", ears(), [StorageUnavailable("down"), StorageUnavailable("still down")]
    on_loop(service, lambda message: None)
    async with running(path, service) as app:
        store = app._room.store
        read = store.read

        async def read_later(operation):
            if errors:
                raise errors.pop()
            return await read(operation)

        monkeypatch.setattr(store, "read", read_later)
        await app.publish(service, Said("ann", 1))
        await app.wait_idle()
    assert ([], [1]) == (errors, heard(path))
