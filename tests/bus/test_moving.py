"""Services that have read their own journal get a bus: they go on where they were, and nothing is handled again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from eventseam import StorageError
from eventseam.journal.append import timestamp
from eventseam.journal.retention import Windows, trim
from tests.keep.test_retention import on_store
from tests.support import file
from tests.support.place import Databases
from tests.support.run import make_app
from tests.support.talk import Said, ears

NEVER = "0001-01-01T00:00:00.000Z"


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request, tmp_path, postgres_server):
    """The database of the services, and the bus."""
    databases = Databases(postgres_server)
    yield tmp_path / "db" if request.param == "sqlite" else databases / "db", databases / "bus"
    databases.drop()


def app_of(place, bus="journal:"):
    """`mouth` says; `ears` and `slow` hear, and note it under their names."""
    services = [ears("mouth")]
    for name in ("ears", "slow"):
        service = ears(name)
        services.append(service)

        @service.on(Said, name=name)
        async def on_said(message, ctx, name=name):
            ctx.write("INSERT INTO heard (handler, who, n) VALUES ($1, $2, $3)", name, message.who, message.n)

    return make_app(place, *services, transport=bus)


async def say(place, *numbers, bus="journal:", only=("mouth", "ears", "slow")):
    app = app_of(place, bus)
    mouth, *listening = app.services
    async with app.running(only=only):
        ids = await app.publish(mouth, *[Said(f"k{n}", n) for n in numbers])
        for service in listening:
            if service.name in only:
                await app.wait_for(service, *ids, timeout_seconds=20)


async def forget_all(place):
    """The inbox remembers nothing any more."""
    now = timestamp(datetime.now(UTC))
    await on_store(place, lambda sql: trim(sql, Windows(NEVER, now), 1_000))


def readers(place):
    return [row[0] for row in file.query(place, "SELECT DISTINCT reader FROM positions ORDER BY 1")]


async def test_what_has_left_the_inbox_is_not_handled_again_by_the_bus(places):
    own, bus = places
    await say(own, *range(20))
    await forget_all(own)
    await say(own, 20, 21, bus=bus)
    assert list(range(22)) == sorted(file.heard(own, "ears"))
    assert ["ears@bus", "mouth@bus", "relay@bus", "slow@bus"] == readers(own)
    await say(own, 22, bus=bus)
    assert list(range(23)) == sorted(file.heard(own, "slow"))


async def test_what_one_service_had_not_finished_comes_to_it_by_the_bus(places):
    own, bus = places
    await say(own, 0)
    await say(own, 1, 2, only=["mouth", "ears"])
    await say(own, 3, bus=bus)
    assert [0, 1, 2, 3] == sorted(file.heard(own, "slow")) == sorted(file.heard(own, "ears"))


async def test_a_service_that_is_behind_what_inboxes_remember_is_caught_up_first(places):
    own, bus = places
    await say(own, 1, only=["mouth", "ears"])
    await forget_all(own)
    with pytest.raises(StorageError, match=r"slow did not finish messages from before .* Run the app without"):
        await say(own, bus=bus)
    assert ["ears", "mouth", "slow"] == readers(own)
    async with app_of(own).running() as app:
        await app.wait_idle()
    await say(own, 2, bus=bus)
    assert [1, 2] == file.heard(own, "slow") == file.heard(own, "ears")


async def test_a_process_that_reads_the_journal_itself_is_stopped_first(places):
    own, bus = places
    async with app_of(own).running() as app:
        await app.wait_idle()
        with pytest.raises(StorageError, match=r"ears is read by .* now. Stop that process first"):
            await say(own, bus=bus)
    await say(own, 1, bus=bus)
    assert [1] == file.heard(own, "ears")


async def test_a_journal_that_nobody_has_read_is_relayed_from_its_beginning(places):
    own, bus = places
    await say(own, 1, only=["mouth"])
    file.query(own, "DELETE FROM positions")
    await say(own, 2, bus=bus)
    assert [1, 2] == sorted(file.heard(own, "ears"))
