"""A reader that takes its slots again reads on at its positions, whatever its client had handed over before."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer

from eventseam.clock import Seams
from eventseam.ports.cursors import offset_of
from eventseam.transports.kafka import connect

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.timeout(60)]


def put(broker, count):
    producer = Producer({"bootstrap.servers": broker.hosts})
    for n in range(count):
        producer.produce(broker.topic("talk"), b"%d" % n, b"k", 0)
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
