"""A topic with added partitions is refused until it is accepted; then nothing is lost, doubled or overtaken."""

from __future__ import annotations

import asyncio
import json

import pytest
from confluent_kafka import murmur2

from eventseam import Seams, StorageError
from eventseam.cli.exits import Exit
from eventseam.transports.kafka import connect
from tests.broker.grown import command
from tests.support.run import until
from tests.support.talk import Said

KEYS = [f"k{n}" for n in range(40)]
ACCEPT = ("topology", "accept", "talk", "grown_app:create")


async def accept(*more) -> int:
    return await asyncio.to_thread(command, *ACCEPT, *more)


def said(*numbers):
    return [Said(key, n) for n in numbers for key in KEYS]


async def test_after_accepting_order_is_kept_and_nothing_is_lost_or_doubled(place):
    await place.run(*said(0, 1))
    place.grow("talk", 8)
    with pytest.raises(StorageError, match=r"talk had 3 partitions .* eventseam topology accept talk MODULE:FACTORY"):
        await place.run(*said(9))
    assert Exit.OK == await accept()
    await place.run(*said(2, 3))
    await place.run(*said(4))
    assert {key: [0, 1, 2, 3, 4] for key in KEYS} == place.heard()
    assert any(murmur2(key.encode(), 8) >= 3 for key in KEYS)


async def test_what_is_not_relayed_yet_comes_after_what_was(place):
    await place.run(*said(0))
    place.grow("talk", 8)
    place.query(
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
        """SELECT 'talk', value, 'talk.said', json_object('who', value, 'n', 1) FROM json_each(?)""",
        json.dumps(KEYS),
    )
    assert Exit.OK == await accept()
    await place.run()
    assert {key: [0, 1] for key in KEYS} == place.heard()


async def test_what_other_programs_put_into_new_partitions_before_is_read(place):
    await place.run(*said(0))
    place.grow("talk", 4)
    body = b'{"specversion":"1.0","id":"x-1","source":"other","type":"talk.said","data":{"who":"new","n":7}}'
    place.put("talk", 3, b"new", body)
    assert Exit.OK == await accept()
    await place.run(Said("k0", 1))
    assert [7] == place.heard().get("new"), place.query("SELECT error_message FROM unsettled")


async def test_what_is_unsettled_goes_with_its_key_to_its_new_slot(place):
    await place.run(*said(0), fails=KEYS[:10])
    held = {lane for (lane,) in place.query("SELECT lane FROM unsettled")}
    assert set(KEYS[:10]) == held
    place.grow("talk", 8)
    assert Exit.OK == await accept()
    slots = place.query("SELECT lane, slot FROM unsettled")
    assert {(key, murmur2(key.encode(), 8)) for key in held} == set(slots)
    await place.run(*said(1))
    assert {key: [0, 1] for key in KEYS} == place.heard()


async def test_unread_messages_refuse_it_unless_their_order_is_given_up(place, capsys):
    await place.run(*said(0))
    place.put("talk", 0, b"k0", b"{}")
    place.grow("talk", 8)
    assert Exit.FOUND == await accept()
    assert "1 messages of talk are unread here" in capsys.readouterr().err
    assert Exit.OK == await accept("--yes")
    await place.run(*said(1))
    assert [("unrouted",)] == place.query("SELECT DISTINCT handler FROM unsettled")


async def test_a_running_app_refuses_it_and_goes_on_in_the_old_partitions(place, capsys):
    app = place.app()
    async with app.running():
        await app.publish(app.services[0], *said(0))
        await app.wait_idle(30)
        place.grow("talk", 8)
        assert Exit.FOUND == await accept()
        assert "Stop every app that uses this database" in capsys.readouterr().err
        await app.publish(app.services[0], *said(1))
        await app.wait_idle(30)
    assert Exit.OK == await accept()
    await place.run(*said(2))
    assert {key: [0, 1, 2] for key in KEYS} == place.heard()


async def test_nothing_to_accept_is_said_and_changes_nothing(place, capsys):
    await place.run(*said(0))
    before = place.query("SELECT reader, slot, cursor, rev FROM positions")
    assert Exit.FOUND == await accept()
    assert "nothing to accept" in capsys.readouterr().err
    assert Exit.FOUND == await asyncio.to_thread(command, "topology", "accept", "walk", "grown_app:create")
    assert before == place.query("SELECT reader, slot, cursor, rev FROM positions")


async def test_a_service_whose_reader_is_elsewhere_is_named(place, capsys):
    async with place.app().running():
        await asyncio.sleep(0)
    place.query("DELETE FROM positions WHERE reader = 'ears/3@bus'")
    place.grow("talk", 4)
    assert Exit.OK == await accept("--json")
    assert ["ears"] == json.loads(capsys.readouterr().out)["elsewhere"]


async def test_the_places_of_channels_do_not_shift_in_the_reader_that_is_left(place):
    await place.run(*said(0))
    old = place.query("SELECT slot, cursor FROM positions WHERE reader = 'ears/3@bus' ORDER BY slot")
    place.grow("talk", 8)
    assert Exit.OK == await accept()
    assert old == place.query("SELECT slot, cursor FROM positions WHERE reader = 'ears/3@bus' ORDER BY slot")
    new = dict(place.query("SELECT slot, cursor FROM positions WHERE reader = 'ears/8@bus'"))
    assert {slot: json.loads(cursor) for slot, cursor in old} == {slot: json.loads(new[slot]) for slot in range(3)}
    assert [[0]] * 5 == [[spot[2] for spot in json.loads(new[slot])] for slot in range(3, 8)]


async def test_it_is_accepted_on_postgresql_too(place, postgres_url):
    place.database = place.write_module(postgres_url)
    await place.run(*said(0))
    place.grow("talk", 8)
    assert Exit.OK == await accept()
    await place.run(*said(1))
    assert {key: [0, 1] for key in KEYS} == place.heard()


async def test_a_client_publishes_in_the_partitions_that_it_saw_first_from_start_to_end(place):
    place.make("talk", 3)
    broker = connect(place.url, Seams().clock)
    await broker.open()
    try:
        await broker.layouts(["talk"])
        place.grow("talk", 8)
        await until(lambda: _sees(broker, 8))
        assert 3 == (await broker.partitions_of(["talk"]))["talk"]
    finally:
        await broker.close()


async def _sees(broker, partitions):
    return (await broker.layouts(["talk"]))["talk"].partitions == partitions
