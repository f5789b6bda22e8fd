"""What is dropped, and when: by age, never what a reader needs, and by force only with a gap that the reader sees."""

from __future__ import annotations

import socket
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from eventseam import App, Retry, Service, Settings, SettingsError, StorageError, WiringError
from eventseam.app import retention
from eventseam.app.retention import sweep_once
from eventseam.app.stores import open_store
from eventseam.clock import Seams
from eventseam.journal.append import timestamp
from eventseam.journal.retention import Windows, accept_gaps, force, forget_reader, gaps, inbox_dropped, needs, trim
from tests.support import file
from tests.support.place import url_of
from tests.support.run import MovedClock, make_app, quick_settings, running
from tests.support.talk import Said, ears, in_batches, on_loop

LATER = timestamp(datetime.now(UTC) + timedelta(days=1))
EARLIER = timestamp(datetime.now(UTC) - timedelta(days=1))
ALL = Windows(LATER, LATER)


async def on_store(place, operation, *, write=True):
    store = open_store(quick_settings(place), Seams())
    try:
        return await (store.write(operation) if write else store.read(operation))
    finally:
        await store.close()


async def publish(place, *numbers, beside=(), key="a"):
    service = ears()
    on_loop(service, lambda message: None)
    async with running(place, service, *beside) as app:
        await app.publish(service, *[Said(key, n) for n in numbers])
        await app.wait_idle()


async def leave_behind(place, *numbers):
    """A service `slow` that has positions and has read nothing of what `ears` has finished."""
    slow, service = ears("slow"), ears()
    on_loop(slow, lambda message: None)
    on_loop(service, lambda message: None)
    app = make_app(place, service, slow)
    async with app.running(only=["ears"]):
        ids = await app.publish(service, *[Said("a", n) for n in numbers])
        await app.wait_for(service, *ids)
    return slow


def pid_of_one_that_ended():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def journal(place):
    return file.query(place, "SELECT count(*) FROM event_outbox")[0][0]


async def test_what_everybody_has_finished_and_is_old_goes(place):
    await publish(place, 1, 2, 3)
    assert (0, 0) == await on_store(place, lambda sql: trim(sql, Windows(EARLIER, EARLIER), 100))
    assert (3, 3) == await on_store(place, lambda sql: trim(sql, ALL, 100))
    assert 0 == journal(place)


async def test_no_more_than_asked_goes_at_once(place):
    await publish(place, 1, 2, 3)
    assert (2, 2) == await on_store(place, lambda sql: trim(sql, ALL, 2))


async def test_what_a_reader_needs_stays_and_the_reader_is_named(place):
    await leave_behind(place, 1, 2)
    assert 0 == (await on_store(place, lambda sql: trim(sql, ALL, 100))).journal
    [need] = await on_store(place, lambda sql: needs(sql, LATER), write=False)
    assert ("slow", 2) == (need.reader, need.messages)
    assert [] == await on_store(place, lambda sql: needs(sql, EARLIER), write=False)


async def test_a_forced_gap_stops_its_reader_with_the_range_until_it_is_accepted(place):
    slow = await leave_behind(place, 1, 2)
    assert 2 == await on_store(place, lambda sql: force(sql, LATER, 100))
    assert 0 == journal(place)
    [gap] = await on_store(place, gaps, write=False)
    assert ("slow", 2) == (gap.reader, gap.last - gap.first + 1)
    with pytest.raises(ExceptionGroup) as stopped:
        async with make_app(place, slow).running() as app:
            await app.wait_idle()
    [error] = stopped.value.exceptions
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    assert f"(positions {gap.first} to {gap.last}). Repair" in str(error)
    await on_store(place, lambda sql: accept_gaps(sql, ["slow"]))
    await publish(place, 3, beside=[slow])
    assert [3] == file.heard(place)[-1:]


async def serve_through_a_gap(place, service):
    """Run a service in which a gap is made from outside, and publish to it."""
    async with running(place, service) as app:
        await app.wait_idle()
        file.query(place, "UPDATE positions SET gap = CURRENT_TIMESTAMP, gap_first = 7, gap_last = 9, rev = rev + 1")
        await app.publish(service, Said("a", 1))
        await app.wait_idle()


async def test_a_gap_fences_a_reader_that_runs(place):
    service = ears()
    on_loop(service, lambda message: None)
    with pytest.raises(ExceptionGroup):
        await serve_through_a_gap(place, service)
    assert [] == file.heard(place)


async def test_nobody_who_has_finished_gets_a_gap(place):
    await publish(place, 1, 2)
    assert 2 == await on_store(place, lambda sql: force(sql, LATER, 100))
    assert [] == await on_store(place, gaps, write=False)


async def test_a_reader_that_is_gone_can_be_forgotten_and_one_that_runs_cannot(place):
    slow = await leave_behind(place, 1)
    now = datetime.now(UTC).timestamp()
    assert await on_store(place, lambda sql: forget_reader(sql, "slow", now))
    assert not await on_store(place, lambda sql: forget_reader(sql, "slow", now))
    assert 1 == (await on_store(place, lambda sql: trim(sql, ALL, 100))).journal
    async with running(place, slow) as app:
        await app.wait_idle()
        with pytest.raises(StorageError, match=r"slow is read by .* now. Stop that process first"):
            await on_store(place, lambda sql: forget_reader(sql, "slow", now))


async def test_a_reader_whose_process_was_killed_on_this_machine_can_be_forgotten_at_once(place):
    await leave_behind(place, 1)
    now = datetime.now(UTC).timestamp()
    ended = pid_of_one_that_ended()
    file.give_slots_to(place, f"{socket.gethostname()}:{ended}:0", 3_600)
    assert await on_store(place, lambda sql: forget_reader(sql, "slow", now))
    await leave_behind(place, 2)
    file.give_slots_to(place, f"elsewhere:{ended}:0", 3_600)
    with pytest.raises(StorageError, match=r"slow is read by elsewhere:"):
        await on_store(place, lambda sql: forget_reader(sql, "slow", now))


async def test_a_sweep_keeps_the_windows_and_goes_on_until_nothing_is_left(place, monkeypatch):
    monkeypatch.setattr(retention, "ROWS", {"sqlite": 100, "postgresql": 100})
    service, clock = ears(), MovedClock()
    in_batches(service, lambda message: None)
    app = make_app(place, service, clock=clock)
    async with app.running():
        for _ in range(3):
            await app.publish(service, *[Said(f"k{n}") for n in range(100)])
        await app.wait_idle()
        clock.jump(2 * 86_400)
        await sweep_once(app._room.store, app.settings, clock)
        remembered = file.query(place, "SELECT count(*) FROM processed_events WHERE service <> ''")[0][0]
        assert (300, 0) == (journal(place), remembered)
        clock.jump(7 * 86_400)
        await sweep_once(app._room.store, app.settings, clock)
        assert 0 == journal(place)


async def test_it_is_known_up_to_when_the_inbox_was_dropped_whoever_kept_it_for_the_shortest(place):
    await publish(place, 1)
    assert await on_store(place, inbox_dropped) is None
    await on_store(place, lambda sql: trim(sql, Windows(EARLIER, EARLIER), 100))
    assert await on_store(place, inbox_dropped) is None, "nothing was old enough"
    assert 1 == (await on_store(place, lambda sql: trim(sql, Windows(EARLIER, LATER), 100))).inbox
    assert (0, 0) == await on_store(place, lambda sql: trim(sql, Windows(EARLIER, EARLIER), 100))
    assert LATER == timestamp(await on_store(place, inbox_dropped))


async def test_dead_letters_are_kept_unless_a_time_is_set_and_what_waits_behind_goes_on(place):
    service, clock, poison = ears(), MovedClock(), [True]

    @service.on(Said, retry=Retry(attempts=1))
    async def on_said(message, ctx):
        if message.n == 1:
            raise ValueError("no")
        ctx.write("INSERT INTO heard (handler, who, n) VALUES ($1, $2, $3)", "hear", message.who, message.n)

    app = make_app(place, service, clock=clock, dead_letter_hours=24.0)
    async with app.running():
        await app.publish(service, Said("a", 1), Said("a", 2))
        await app.wait_idle()
        await sweep_once(app._room.store, app.settings, clock)
        assert ["dead", "waiting"] == [row[2] for row in file.unsettled(place)]
        clock.jump(25 * 3_600)
        await sweep_once(app._room.store, Settings(database=url_of(place)), clock)
        assert 2 == len(file.unsettled(place))
        await sweep_once(app._room.store, app.settings, clock)
        await app.wait_idle()
    assert ([], [2]) == (file.unsettled(place), file.heard(place))
    assert poison


async def test_the_view_of_the_guide_tells_what_every_reader_has_finished(place):
    await publish(place, 1, 2)
    slow = await leave_behind(place, 3)
    rows = file.query(place, "SELECT * FROM eventseam_outbox ORDER BY id")
    assert 3 == len(rows)
    assert [7] == list({len(row) for row in rows})
    assert [None] * 3 == [row[6] for row in rows], "`slow` is new and reads from the beginning"
    await publish(place, 4, beside=[slow])
    rows = file.query(place, "SELECT created_at, published_at FROM eventseam_outbox ORDER BY id")
    assert [True] * 4 == [published is not None and published >= created for created, published in rows]


def test_windows_that_do_not_fit_each_other_are_refused_with_the_fix():
    with pytest.raises(SettingsError, match=r"Raise EVENTSEAM_JOURNAL_HOURS, or lower EVENTSEAM_INBOX_HOURS"):
        Settings(journal_hours=12)
    with pytest.raises(SettingsError, match=r"Set EVENTSEAM_INBOX_HOURS to 0.00278 or more"):
        Settings(inbox_hours=0.001)


async def test_an_inbox_that_forgets_before_a_bus_repeats_is_refused(postgres_url, tmp_path):
    service = Service("ears")

    @service.on(Said, timeout_seconds=7_200)
    async def on_said(message, ctx): ...

    settings = Settings(database=f"sqlite:///{tmp_path / 'db'}", transport=postgres_url, inbox_hours=1.0)
    with pytest.raises(WiringError, match=r"may run for 7200 s.* Set it to 2.01 or more"):
        async with App(service, settings=settings).running():
            pass
