"""The engine on PostgreSQL, as the cases run it: with everything on, told by a probe when all is committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.engine import Finish
from bench.postgres.timing import Watch
from eventseam import App, Settings

if TYPE_CHECKING:
    from bench.measure import Timing
    from eventseam import Service


def consume(url: str, service: Service[object], expected: int) -> Timing:
    """From the engine's first step to the commit of the last of the messages in the journal."""
    return asyncio.run(_consume(url, service, expected))


async def _consume(url: str, service: Service[object], expected: int) -> Timing:
    probe = Finish(expected)
    async with App(service, settings=Settings(database=url), probe=probe).running():
        watch = Watch()
        await probe.done.wait()
        return watch.per(expected, probe.ended)
