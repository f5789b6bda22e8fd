"""An app behind every kind of broker, logs and queues: once each, in order where it is promised, through trouble."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from msgspec import Struct

from eventseam import Channel, Ctx, Seams, Service
from eventseam.app import bus
from eventseam.ports.transport import Feature
from eventseam.transports.memory import PROFILES, MemoryServer, connect
from tests.support import file
from tests.support.run import make_app
from tests.support.talk import ALWAYS_ON, HEARD, PATIENT, TABLES

note = Channel("note", key="who", unordered=True)
reply = Channel("reply", key="who", unordered=True)


@note.event("note.taken")
class Taken(Struct, frozen=True):
    who: str
    n: int


@reply.event("reply.given")
class Given(Struct, frozen=True):
    who: str
    n: int


def conversation():
    """A service that answers what it hears, and fails at every seventh message once."""
    service, failed = Service("ears", tables=TABLES), set()

    @service.on(Taken, retry=PATIENT, circuit=ALWAYS_ON)
    async def on_taken(message: Taken, ctx: Ctx) -> None:
        if message.n % 7 == 3 and message not in failed:
            failed.add(message)
            raise OSError("away")
        ctx.write(HEARD, "hear", message.who, message.n)
        ctx.publish(Given(message.who, message.n))

    @service.on(Given)
    async def on_given(message: Given, ctx: Ctx) -> None:
        ctx.write(HEARD, "given", message.who, message.n)

    return service


async def talk(place, server, service, monkeypatch, trouble):
    """Publish 300 messages, with trouble in the middle, until everything is handled."""
    monkeypatch.setattr(bus, "open_broker", lambda settings, seams, styles: connect(server, styles))
    async with make_app(place, service, transport="kafka://memory:1").running() as app:
        for n in range(30):
            if n == 15:
                trouble()
            await app.publish(service, *(Taken(f"k{k}", n) for k in range(10)))
        async with asyncio.timeout(90):  # a queue cannot tell what is still in it
            while file.query(place, "SELECT count(*) FROM heard")[0][0] < 600:  # noqa: ASYNC110 - it is a database
                await asyncio.sleep(0.05)
        await app.wait_idle(60)


def by_key(place, handler):
    found = defaultdict(list)
    for who, n in file.query(place, f"SELECT who, n FROM heard WHERE handler = '{handler}' ORDER BY id"):
        found[who].append(n)
    return dict(found)


@pytest.mark.parametrize("profile", PROFILES)
async def test_each_message_is_handled_once_and_in_order_where_that_is_promised(tmp_path, monkeypatch, profile):
    place, server = tmp_path / "db", MemoryServer(profile, Seams(), 4)

    def trouble():
        server.cut()
        server.lose_answer(3)

    await talk(place, server, conversation(), monkeypatch, trouble)
    for handler in ("hear", "given"):
        heard = by_key(place, handler)
        is_ordered = Feature.ORDER in PROFILES[profile].capabilities.features
        found = heard if is_ordered else {key: sorted(numbers) for key, numbers in heard.items()}
        assert {f"k{k}": list(range(30)) for k in range(10)} == found


@pytest.mark.parametrize("profile", [name for name, each in PROFILES.items() if each.survives])
async def test_a_broker_that_is_killed_and_keeps_its_messages_costs_nothing(tmp_path, monkeypatch, profile):
    place, server = tmp_path / "db", MemoryServer(profile, Seams(), 4)
    await talk(place, server, conversation(), monkeypatch, server.restart)
    assert {f"k{k}": 30 for k in range(10)} == {key: len(set(found)) for key, found in by_key(place, "given").items()}
    assert [(600,)] == file.query(place, "SELECT count(*) FROM heard")
