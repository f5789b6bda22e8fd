"""An engine in a process of its own: `python -m tests.support.other_process PLACE LEASE_SECONDS [DELAY_SECONDS]`.

Its handler hears what is said, after a delay. It says `ready` when its app runs, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eventseam import Ctx
from tests.support.run import running
from tests.support.talk import Said, ears, hear

if TYPE_CHECKING:
    from tests.support.place import Place


async def main(place: Place, lease_seconds: float, delay_seconds: float) -> None:
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        await asyncio.sleep(delay_seconds)
        hear(ctx, message)

    async with running(place, service, lease_seconds=lease_seconds):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    where = sys.argv[1]
    asyncio.run(
        main(
            where if "://" in where else Path(where),
            float(sys.argv[2]),
            float(sys.argv[3]) if len(sys.argv) > 3 else 0.0,
        )
    )
