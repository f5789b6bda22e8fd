"""A recorded write that cannot be applied fails its own message alone; its neighbours' handlers run once."""

from __future__ import annotations

from collections import Counter

import pytest

from eventseam import Ctx
from eventseam.ports.probe import HandlerFailed
from tests.support.file import heard, query, unsettled
from tests.support.run import running, seen
from tests.support.talk import ALWAYS_ON, HEARD, QUICK, Echoed, Said, ears, hear

BAD_WRITES = {
    "a constraint": ("INSERT INTO heard (handler, who, n) VALUES ($1, NULL, $2)", ("x", 1)),
    "a table that is not there": ("INSERT INTO nowhere (n) VALUES ($1)", (1,)),
    "no SQL": ("this is not SQL", ()),
    "one word": ("nonsense", ()),
    "a parameter missing": ("INSERT INTO heard (handler, who, n) VALUES ($1, $2, $3)", ("x",)),
    "a value that SQLite has no type for": (HEARD, ("x", object(), 1)),
    "an integer that does not fit": (HEARD, ("x", "y", 2**70)),
    "text that is not Unicode": (HEARD, ("x", "\ud800", 1)),
    "two statements": ("DELETE FROM heard; DELETE FROM heard", ()),
    "an end of the transaction": ("COMMIT TRANSACTION", ()),
    "an end of the transaction behind a comment": ("/* now */ ROLLBACK TRANSACTION", ()),
    "a pragma": ("PRAGMA synchronous = OFF", ()),
    "another database": ("ATTACH DATABASE 'other.db' AS other", ()),
    "a savepoint": ("SAVEPOINT one", ()),
}


@pytest.mark.parametrize("write", BAD_WRITES.values(), ids=BAD_WRITES)
async def test_a_write_that_cannot_be_applied_fails_its_own_message_only(tmp_path, write):
    calls: Counter[str] = Counter()
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        calls[message.who] += 1
        hear(ctx, message)
        ctx.publish(Echoed(message.who, message.n))
        if message.who == "k13":
            ctx.write(write[0], *write[1])
        hear(ctx, message, "after")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(40)])
        await app.wait_idle()
    others = [n for n in range(40) if n != 13]
    assert others == sorted(heard(tmp_path / "db")) == sorted(heard(tmp_path / "db", "after"))
    assert [("on_said", "k13", "dead", 3)] == unsettled(tmp_path / "db")
    assert {"k13": 3} == {who: count for who, count in calls.items() if count > 1}
    assert 39 == query(tmp_path / "db", "SELECT count(*) FROM event_outbox WHERE event_type = 'echo.echoed'")[0][0]


@pytest.mark.parametrize("tmp_path", ["sqlite"], indirect=True)
async def test_a_read_is_no_write_where_it_cannot_change_anything(tmp_path):
    """On PostgreSQL it may: functions do."""
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        ctx.write("SELECT n FROM heard WHERE n = $1", 1)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
    assert [("on_said", "ann", "dead", 3)] == unsettled(tmp_path / "db")


async def test_several_bad_writes_in_one_batch_each_fail_alone(tmp_path):
    bad = {3, 4, 17, 39}
    service = ears()

    @service.on(Said, retry=QUICK, circuit=ALWAYS_ON)
    async def on_said(message: Said, ctx: Ctx) -> None:
        ctx.write(HEARD, "hear", None if message.n in bad else message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(40)])
        await app.wait_idle()
        failed = {each.key for each in seen(app).of(HandlerFailed)}
    assert {f"k{n}" for n in bad} == failed
    assert [n for n in range(40) if n not in bad] == sorted(heard(tmp_path / "db"))


async def test_a_write_that_fails_on_what_a_neighbour_wrote_fails_alone(tmp_path):
    service = ears()
    unique = "INSERT INTO once (who) VALUES ($1)"

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)
        ctx.write(unique, message.n // 2)

    service.tables += "CREATE TABLE IF NOT EXISTS once (who INTEGER PRIMARY KEY);"
    async with running(tmp_path / "db", service, batch_max=10) as app:
        await app.publish(service, Said("a", 0), Said("b", 1), Said("c", 2))
        await app.wait_idle()
    assert 2 == len(heard(tmp_path / "db"))
    assert ["dead"] == [state for _, _, state, _ in unsettled(tmp_path / "db")]


async def test_the_lane_behind_a_bad_write_waits_in_order(tmp_path):
    service = ears()
    broken = True

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        ctx.write(HEARD, "hear", None if broken and message.n == 1 else message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said("ann", n) for n in range(4)])
        await app.wait_idle()
        assert [0] == heard(tmp_path / "db")
        broken = False
        query(tmp_path / "db", "UPDATE unsettled SET state = 'retrying', attempts = 0 WHERE state = 'dead'")
        await app.wait_idle()
    assert [0, 1, 2, 3] == heard(tmp_path / "db")


async def test_a_message_that_is_unsettled_already_and_comes_again_does_not_stop_the_engine(tmp_path):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.who == "ann":
            raise ValueError("poison")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
        query(tmp_path / "db", "DELETE FROM processed_events")  # older than the inbox remembers
        query(
            tmp_path / "db",
            "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, message_id) "
            "SELECT aggregate_type, 'other', event_type, payload, message_id FROM event_outbox WHERE id = 1",
        )
        await app.publish(service, Said("bob", 2))
        await app.wait_idle()
    assert [2] == heard(tmp_path / "db")
    assert [("on_said", "ann", "dead", 3)] == unsettled(tmp_path / "db")
