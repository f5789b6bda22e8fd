"""An engine in a process of its own: `python -m tests.support.other_process FILE LEASE_SECONDS [DELAY_SECONDS]`.

Its handler hears what is said, after a delay. It says `ready` when its app runs, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from eventseam import Ctx
from tests.support.run import running
from tests.support.talk import Said, ears, hear


async def main(path: Path, lease_seconds: float, delay_seconds: float) -> None:
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        await asyncio.sleep(delay_seconds)
        hear(ctx, message)

    async with running(path, service, lease_seconds=lease_seconds):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0))
