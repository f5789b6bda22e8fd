"""What a broker has dropped unread stops its reader, which goes on when somebody accepts that; and lag sees it."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from confluent_kafka import murmur2

from eventseam import StorageError
from eventseam.cli.exits import Exit, first_of
from tests.broker.grown import command
from tests.support.talk import Said

KEYS = [f"k{n}" for n in range(12)]
BODY = b'{"specversion":"1.0","id":"%s","source":"other","type":"talk.said","data":{"who":"%s","n":%d}}'


def slot(key):
    return murmur2(key.encode(), 3)


def put_all(place, n):
    """Another program publishes for every key."""
    for key in KEYS:
        name = f"{key}-{n}".encode()
        place.put("talk", slot(key), key.encode(), BODY % (name, key.encode(), n))


async def run_cli(capsys, *words):
    sys.modules.pop("grown_app", None)
    code = await asyncio.to_thread(command, *words)
    return code, capsys.readouterr().out


async def test_a_trimmed_partition_stops_the_app_until_the_loss_is_accepted(place, capsys):
    await place.run(*(Said(key, 0) for key in KEYS))
    put_all(place, 1)
    place.trim("talk", 0)
    with pytest.raises(BaseExceptionGroup) as raised:
        await place.run()
    error = first_of(raised.value)
    assert isinstance(error, StorageError)
    assert "channel talk, partition 0, was trimmed, and ears/3@bus had read it up to " in str(error)
    assert str(error).endswith("eventseam journal accept-gap ears/3@bus")
    code, out = await run_cli(capsys, "journal", "accept-gap", "ears/3@bus", "--database", place.database, "--json")
    assert (Exit.OK, ["ears/3@bus"]) == (code, json.loads(out)["brokers"])
    await place.run(*(Said(key, 2) for key in KEYS))
    assert {key: [0, 1, 2] if slot(key) else [0, 2] for key in KEYS} == place.heard()


async def test_a_topic_that_was_made_again_stops_the_app_until_the_loss_is_accepted(place, capsys):
    await place.run(*(Said(key, 0) for key in KEYS))
    place.delete("talk")
    await asyncio.sleep(0.5)
    place.make("talk", 3)
    put_all(place, 1)
    with pytest.raises(BaseExceptionGroup) as raised:
        await place.run()
    assert "was deleted and made again" in str(first_of(raised.value))
    assert Exit.OK == (await run_cli(capsys, "journal", "accept-gap", "ears/3@bus", "--database", place.database))[0]
    assert 12 == (await lags(capsys, "grown_app:create"))[1]["ears/3@bus"]["behind_messages"]
    await place.run()
    assert {key: [0, 1] for key in KEYS} == place.heard()


async def test_a_reader_that_is_not_there_has_no_gap(place, capsys):
    await place.run(Said("a"))
    code, out = await run_cli(capsys, "journal", "accept-gap", "nose/3@bus", "--database", place.database)
    assert (Exit.FOUND, "No gap of nose/3@bus.\n") == (code, out)


async def test_accepting_fences_whoever_owns_the_reader(place, capsys):
    await place.run(Said("a"))
    revs = "SELECT rev FROM positions WHERE reader = 'ears/3@bus' ORDER BY slot"
    before = place.query(revs)
    await run_cli(capsys, "journal", "accept-gap", "ears/3@bus", "--database", place.database)
    assert [(rev + 1,) for (rev,) in before] == place.query(revs)


async def lags(capsys, *words):
    code, out = await run_cli(capsys, "lag", *words, "--json")
    return code, {each["service"]: each for each in json.loads(out)["services"]}


async def test_lag_asks_the_broker_how_many_messages_are_behind(place, capsys):
    await place.run(*(Said(key, 0) for key in KEYS))
    put_all(place, 1)
    code, found = await lags(capsys, "grown_app:create")
    ears = found["ears/3@bus"]
    assert (Exit.OK, None, 12, None) == (code, ears["position"], ears["behind_messages"], ears["behind_seconds"])
    counts = [sum(1 for key in KEYS if slot(key) == each) for each in range(3)]
    assert counts == [each["behind_messages"] for each in ears["slots"]]
    assert 0 == found["relay@bus"]["behind_messages"]
    assert Exit.OK == (await lags(capsys, "grown_app:create", "--max-messages", 12))[0]
    assert Exit.FOUND == (await lags(capsys, "grown_app:create", "--max-messages", 11))[0]


async def test_lag_of_a_database_alone_does_not_know_and_says_who_does(place, capsys):
    await place.run(Said("a"))
    _, found = await lags(capsys, "--database", place.database)
    assert (None, None) == (found["ears/3@bus"]["position"], found["ears/3@bus"]["behind_messages"])
    _, out = await run_cli(capsys, "lag", "--database", place.database)
    assert "9223372036854775807" not in out
    assert "eventseam lag MODULE:FACTORY" in out
