"""Memory over a million messages: one process publishes, handles and trims, and notes its size at each step."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import eventseam.app.app as composition
from bench.contracts import OrderPlaced, ReceiptMade, placed
from eventseam import App, Ctx, Service, Settings
from eventseam.ports.probe import Applied, Observation, OwnershipChanged

BATCH = 500
AHEAD_MAX = 5_000
KEEP_SECONDS = 5.0
SWEEP_SECONDS = 2.0
FLAT = 1.10
TABLES = "CREATE TABLE IF NOT EXISTS totals (customer TEXT PRIMARY KEY, orders INTEGER NOT NULL);"
WRITE = "INSERT INTO totals (customer, orders) VALUES ($1, 1) ON CONFLICT (customer) DO UPDATE SET orders = orders + 1"


class Progress:
    """Counts what is handled; samples the resident size every `step` messages."""

    def __init__(self, step: int) -> None:
        self.handled = 0
        self.samples: list[tuple[int, float]] = []
        self.moved = asyncio.Event()
        self._step = step

    def observe(self, observation: Observation) -> None:
        """Count an apply."""
        if not isinstance(observation, Applied):
            assert isinstance(observation, OwnershipChanged), observation
            return
        self.handled += observation.handled
        while self.handled >= (len(self.samples) + 1) * self._step:
            self.samples.append(((len(self.samples) + 1) * self._step, resident_mib()))
        self.moved.set()


def resident_mib() -> float:
    """The resident size of this process now (on systems without /proc its peak)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    import resource

    return pages * resource.getpagesize() / 2**20


def memory(count: int, folder: Path) -> dict[str, Any]:
    """Run in a process of its own. The sizes, and whether the largest after a fifth of the way is within 10 %."""
    command = [sys.executable, "-m", "bench.memory", str(count), str(folder / "memory.db")]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found["database_mib"] = (folder / "memory.db").stat().st_size / 2**20
    samples = found["resident_mib"]
    settled = samples[max(0, len(samples) // 5 - 1) :]
    found["growth"] = max(size for _, size in settled) / settled[0][1]
    found["is_flat"] = found["growth"] <= FLAT
    return found


async def _run(count: int, path: str) -> dict[str, Any]:
    composition._SWEEP_EVERY_SECONDS = SWEEP_SECONDS
    service: Service[object] = Service("totals", tables=TABLES)

    @service.on(OrderPlaced)
    async def add(event: OrderPlaced, ctx: Ctx) -> None:
        ctx.write(WRITE, event.customer)
        ctx.publish(ReceiptMade(event.order_id, event.total))

    hours = KEEP_SECONDS / 3600
    settings = Settings(
        database=f"sqlite:///{path}",
        durability="normal",
        lease_seconds=KEEP_SECONDS,
        journal_hours=hours,
        inbox_hours=hours,
    )
    progress = Progress(max(1, count // 10))
    app = App(service, settings=settings, probe=progress)
    began, published = time.perf_counter(), 0
    async with app.running():
        while progress.handled < count:
            while published < count and published - progress.handled < AHEAD_MAX:
                await app.publish(service, *[placed(published + n, 1_000) for n in range(BATCH)])
                published += BATCH
            progress.moved.clear()
            await progress.moved.wait()
    seconds = time.perf_counter() - began
    return {"messages": count, "seconds": seconds, "resident_mib": progress.samples}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(int(sys.argv[1]), sys.argv[2]))))
