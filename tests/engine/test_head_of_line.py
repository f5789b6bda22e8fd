"""What one slow, hanging or stubborn handler may hold up: its own lane, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from eventseam import Channel, Service
from eventseam.ports.probe import HandlerFailed
from tests.support.run import running, seen, until

talk = Channel("headline", key="who")


@talk.event("headline.said")
class Said(msgspec.Struct, frozen=True):
    """Somebody said something."""

    who: str


def _service(slow):
    """A service with a handler that is slow on the key "slow", and one that counts."""
    service, heard = Service("ears"), []

    @service.on(Said, timeout_seconds=0.2)
    async def listen(event: Said) -> None:
        if event.who == "slow":
            await slow()

    @service.on(Said)
    async def count(event: Said) -> None:
        heard.append(event.who)

    return service, heard


async def test_one_slow_message_does_not_stop_the_reading_of_others(tmp_path):
    hold = asyncio.Event()
    service, heard = _service(hold.wait)
    async with running(tmp_path / "db", service, in_flight_max=50) as app:
        await app.publish(service, Said("slow"), *(Said(f"k{n}") for n in range(300)))
        await until(lambda: len(heard) == 301)
        hold.set()


async def test_a_handler_that_swallows_every_cancellation_fails_and_the_app_can_stop(tmp_path):
    stubborn = asyncio.Event()

    async def swallow():
        while not stubborn.is_set():
            with suppress(BaseException):
                await asyncio.sleep(0.05)

    service, heard = _service(swallow)
    async with running(tmp_path / "db", service, grace_seconds=0.2) as app:
        await app.publish(service, Said("slow"), Said("k1"))
        await until(lambda: any("swallows cancellation" in failed.error for failed in seen(app).of(HandlerFailed)))
        await until(lambda: len(heard) == 2)
    stubborn.set()


async def test_a_handler_that_raises_generator_exit_has_only_failed(tmp_path):
    async def leave():
        raise GeneratorExit

    service, heard = _service(leave)
    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("slow"), Said("k1"))
        await until(lambda: any("GeneratorExit" in failed.error for failed in seen(app).of(HandlerFailed)))
        await until(lambda: len(heard) == 2)
