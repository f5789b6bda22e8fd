"""`groups=true`: the broker's consumer group shares the slots out; leases and fences still say who may apply."""

from __future__ import annotations

import asyncio

import pytest

from eventseam.ports.probe import OwnershipChanged
from tests.support import file
from tests.support.run import Seen, make_app
from tests.support.talk import Said, ears, on_loop

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.timeout(120)]
KEYS = [f"k{n}" for n in range(40)]


def member(place, url, seen=None):
    service = ears()
    on_loop(service, lambda message: None)
    app = make_app(place, service, transport=f"{url}&groups=true", lease_seconds=3.0)
    app.probe = seen
    return service, app


def slots(seen):
    """What a member owns, as it told last."""
    told = [each for each in seen.of(OwnershipChanged) if each.state in ("owned", "lost", "released")]
    return set(told[-1].slots) if told else set()


async def until(seen, condition):
    async with asyncio.timeout(60):
        while not condition(slots(seen)):  # noqa: ASYNC110 - a probe that keeps what it is told
            await asyncio.sleep(0.05)


async def test_members_of_a_group_share_the_slots_and_handle_each_message_once_in_order(postgres_url, kafka_url):
    first, second = Seen(), Seen()
    service, one = member(postgres_url, kafka_url, first)
    async with one.running():
        await one.publish(service, *(Said(key, 0) for key in KEYS))
        await until(first, lambda owned: len(owned) == 6)
        _, two = member(postgres_url, kafka_url, second)
        async with two.running():
            await until(second, lambda owned: len(owned) == 3)
            for n in range(1, 10):
                await one.publish(service, *(Said(key, n) for key in KEYS))
            await one.wait_idle(60)
        await until(first, lambda owned: len(owned) == 6)
        await one.publish(service, *(Said(key, 10) for key in KEYS))
        await one.wait_idle(60)
    heard = file.query(postgres_url, "SELECT who, n FROM heard ORDER BY id")
    assert {key: list(range(11)) for key in KEYS} == {key: [n for who, n in heard if who == key] for key in KEYS}
