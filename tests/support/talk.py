"""A tiny conversation: `Said` is heard by services whose tables remember what was applied.

Every test declares its own services, so that no state is shared: `ears()` is one with the table `heard`.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eventseam import Channel, Circuit, Ctx, Retry, Service

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


def ears(name: str = "ears", **options: Any) -> Service[Any]:
    """A service with the table `heard`."""
    return Service(name, tables=TABLES, **options)


def hear(ctx: Ctx[Any], message: Said | Say | Echoed, handler: str = "hear") -> None:
    """Record that `handler` heard `message`."""
    ctx.write(HEARD, handler, message.who, message.n)
