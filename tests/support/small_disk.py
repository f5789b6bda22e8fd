"""An engine whose disk becomes full: `python -m tests.support.small_disk FILE`, run with a limit on file sizes.

It says what it observes, line by line: `trouble` when the database refuses work, `idle` when everything is handled.
After `trouble` it lifts the limit, as somebody who frees some space does.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
from pathlib import Path

from eventseam import Ctx, StorageUnavailable
from eventseam.ports.probe import StorageTrouble
from tests.support.file import heard
from tests.support.run import running, seen, until
from tests.support.talk import Said, ears, hear

MESSAGES = 40
BYTES = 5_000


async def main(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails with EFBIG
    service = ears()
    service.tables += "CREATE TABLE IF NOT EXISTS big (n INTEGER, filling BLOB);"

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        ctx.write("INSERT INTO big (n, filling) VALUES ($1, randomblob($2))", message.n, BYTES)
        hear(ctx, message)

    async with running(path, service, lease_seconds=1.0) as app:
        await app.publish(service, *[Said(f"k{n % 4}", n) for n in range(MESSAGES)])
        size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
        await until(lambda: seen(app).of(StorageTrouble))
        with contextlib.suppress(StorageUnavailable):
            await app.publish(service, Said("refused", 1_000))
        print("trouble", seen(app).of(StorageTrouble)[0].error, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await app.wait_idle()
        print("idle", len(heard(path)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
