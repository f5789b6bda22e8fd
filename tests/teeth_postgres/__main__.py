"""A reader of the bus that dies in the commit of its first effect: `python -m tests.teeth_postgres URL BUS [PLANT]`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import nullcontext

from eventseam import App, Seams, Settings
from tests.teeth_postgres import plants
from tests.teeth_postgres.scenarios import Said, listener

DIED = 77
PATIENCE_SECONDS = 20.0


class Dying:
    """Ends the process in the transaction of an effect."""

    def __init__(self) -> None:
        self.is_close = False

    def at(self, point: str) -> None:
        self.is_close = self.is_close or point == "post-settle"
        if self.is_close and point == "pre-commit":
            os._exit(DIED)


async def live(url: str, bus: str) -> None:
    app = App(
        listener(), settings=Settings(database=url, transport=bus, lease_seconds=0.5), seams=Seams(points=Dying())
    )
    async with app.running():
        await app.publish(app.services[0], Said("k", 1))
        await asyncio.sleep(PATIENCE_SECONDS)


if __name__ == "__main__":
    plant = getattr(plants, sys.argv[3]) if len(sys.argv) > 3 else nullcontext
    with plant():
        asyncio.run(live(sys.argv[1], sys.argv[2]))
