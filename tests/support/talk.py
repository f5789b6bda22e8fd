"""A tiny conversation: `Said` is heard by services whose tables remember what was applied.

Every test declares its own services, so that no state is shared: `ears()` is one with the table `heard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from eventseam import Channel, Circuit, Ctx, Retry, Service, SyncTx, Tx

talk = Channel("talk", key="who")
echo = Channel("echo", key="who")

TABLES = """
CREATE TABLE IF NOT EXISTS heard (id INTEGER PRIMARY KEY, handler TEXT NOT NULL, who TEXT NOT NULL, n INTEGER NOT NULL);
"""
HEARD = "INSERT INTO heard (handler, who, n) VALUES ($1, $2, $3)"

QUICK = Retry(attempts=3, first_seconds=0.02, max_seconds=0.05, jitter=0.0)
"""Three attempts within a tenth of a second."""

PATIENT = Retry(attempts=1_000, first_seconds=0.02, max_seconds=0.05, jitter=0.0)
"""Tried again until the test makes it succeed."""

ALWAYS_ON = Circuit(failures=1_000_000)
"""A circuit that no test trips."""


@talk.event("talk.said")
class Said(Struct, frozen=True):
    who: str
    n: int = 0


@talk.command("talk.say")
class Say(Struct, frozen=True):
    who: str
    n: int = 0


@echo.event("echo.echoed")
class Echoed(Struct, frozen=True):
    who: str
    n: int = 0


Act = Callable[[Said], object]


def ears(name: str = "ears", **options: Any) -> Service[Any]:
    """A service with the table `heard`."""
    return Service(name, tables=TABLES, **options)


def hear(ctx: Ctx[Any], message: Said | Say | Echoed, handler: str = "hear") -> None:
    """Record that `handler` heard `message`."""
    ctx.write(HEARD, handler, message.who, message.n)


def on_loop(service: Service[Any], act: Act, **policies: Any) -> None:
    @service.on(Said, **policies)
    async def on_said(message: Said, ctx: Ctx) -> None:
        act(message)
        hear(ctx, message)


def in_thread(service: Service[Any], act: Act, **policies: Any) -> None:
    @service.on(Said, **policies)
    def on_said(message: Said, ctx: Ctx) -> None:
        act(message)
        hear(ctx, message)


def tx_on_loop(service: Service[Any], act: Act, **policies: Any) -> None:
    @service.on_tx(Said, **policies)
    async def on_said(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "hear", message.who, message.n)
        act(message)


def tx_in_thread(service: Service[Any], act: Act, **policies: Any) -> None:
    @service.on_tx(Said, **policies)
    def on_said(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "hear", message.who, message.n)
        act(message)


def in_batches(service: Service[Any], act: Act, **policies: Any) -> None:
    @service.on_batch(Said, **policies)
    async def on_said(messages: list[Said], ctx: Ctx) -> None:
        for message in messages:
            act(message)
            hear(ctx, message)


COLOURS = (on_loop, in_thread, tx_on_loop, tx_in_thread, in_batches)
"""Every form of handler: each declares `on_said`, which calls `act` with its message and then hears it."""
