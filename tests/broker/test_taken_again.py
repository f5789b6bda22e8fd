"""A reader that takes its slots again, or has trouble, reads on at its positions, whatever its client gave before."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from eventseam.clock import Seams
from eventseam.errors import StorageUnavailable
from eventseam.ports.cursors import offset_of
from eventseam.transports.kafka import connect

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.timeout(60)]


def put(broker, count, slot=0):
    producer = Producer({"bootstrap.servers": broker.hosts})
    for n in range(count):
        producer.produce(broker.topic("talk"), b"%d" % n, b"k", slot)
    assert not producer.flush(20)


async def test_what_was_heard_before_a_slot_was_taken_again_is_not_read_before_what_lies_before_it(kafka_url):
    broker = connect(f"{kafka_url}&partitions=1", Seams().clock)
    await broker.open()
    await broker.create({"talk": 1})
    ((channel, incarnation, _),) = (await broker.begin("r", ["talk"], 1, "beginning"))[0]
    await asyncio.to_thread(put, broker, 6)
    source = broker.source("r", ["talk"], 1)
    await source.prepare()
    await source.own({0})
    assert not [page for page in await source.fetch({0: ((channel, incarnation, 4),)}, ["talk"], 10) if page.messages]
    await source.wait(20)  # number 4 is heard, and the shift ends with numbers 0 to 3 under way
    await source.prepare()
    await source.own({0})
    found, cursor = [], ((channel, incarnation, 0),)
    async with asyncio.timeout(20):
        while len(found) < 6:
            for page in await source.fetch({0: cursor}, ["talk"], 10):
                found += [offset_of(each.position) for each in page.messages]
                cursor = page.end
            await source.wait(0.1)
    assert [0, 1, 2, 3, 4, 5] == found
    await source.close()
    await broker.close()


class Given:
    """What a consumer gives: a message, or an error."""

    def __init__(self, offset, error=None):
        self._offset, self._error = offset, error

    def error(self):
        return self._error

    def offset(self):
        return self._offset

    def partition(self):
        return 0

    def topic(self):
        return "talk"


def test_what_a_client_gives_behind_an_error_is_read_all_the_same():
    source = connect("kafka://127.0.0.1:9", Seams().clock).source("r", ["talk"], 1)
    source._shelf.moved({0: (("talk", "", 0),)})
    source._heard = [Given(0), Given(0, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), Given(1)]
    with pytest.raises(StorageUnavailable, match="Grant our user"):
        source._sort()
    assert 2 == len(source._shelf)


class Deaf:
    """An admin client whose requests get no answer."""

    def create_topics(self, topics, **_):
        lost = Future()
        lost.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
        return {each.topic: lost for each in topics}

    def poll(self, _):
        return 0


async def test_a_topic_that_cannot_be_made_while_the_broker_is_away_is_trouble_that_passes():
    """As an error of the message it would have made a dead letter of the first one of a channel."""
    broker = connect("kafka://127.0.0.1:9", Seams().clock)
    broker._admin = Deaf()
    with pytest.raises(StorageUnavailable):
        await broker._ask(partial(broker._create, {"talk": 1}))
    await broker.close()


async def test_a_slot_whose_cursor_was_complete_is_read_although_another_ones_had_to_be_completed(kafka_url):
    broker = connect(f"{kafka_url}&partitions=2", Seams().clock)
    await broker.open()
    await broker.create({"talk": 2, "echo": 2})
    whole = await broker.begin("r", ["talk", "echo"], 2, "beginning")
    for slot in (0, 1):
        await asyncio.to_thread(put, broker, 3, slot)
    source = broker.source("r", ["talk", "echo"], 2)
    await source.prepare()
    await source.own({0, 1})
    found, at = {0: [], 1: []}, {0: whole[0], 1: tuple(spot for spot in whole[1] if spot[0] == "talk")}
    async with asyncio.timeout(20):
        while found != {0: [0, 1, 2], 1: [0, 1, 2]}:
            for page in await source.fetch(at, ["talk", "echo"], 10):
                found[page.slot] += [offset_of(each.position) for each in page.messages]
                at[page.slot] = page.end
            await source.wait(0.1)
    assert {"talk", "echo"} == {spot[0] for spot in at[1]}
    await source.close()
    await broker.close()
