"""Where a consumed message's time goes: `python -m bench.profile`. Shares of the loop's time, under cProfile.

The profiler slows Python functions more than SQLite's, so the shares of the engine's own code are upper bounds.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import tempfile
from collections import Counter
from pathlib import Path

from bench import engine
from bench.sqlite import copied, prefilled

COUNT = 30_000


def place_of(function: tuple[str, int, str]) -> str:
    """What a profiled function belongs to."""
    file, _, name = function
    if "sqlite3" in name:
        return "SQLite: pages, statements, rows"
    if "eventseam/" in file:
        return "eventseam." + file.rsplit("eventseam/", 1)[1].removesuffix(".py").replace("/", ".")
    if "asyncio" in file or "select" in name or "_asyncio" in name:
        return "asyncio"
    return "msgspec" if "msgspec" in name else "built-in functions and the handler"


def main() -> None:
    """Drain a journal under the profiler and print the shares, the largest first."""
    with tempfile.TemporaryDirectory() as folder:
        path = copied(prefilled(Path(folder) / "prefilled.db", COUNT, None))
        profile = cProfile.Profile()
        profile.enable()
        asyncio.run(engine.consume(path, "full", COUNT))
        profile.disable()
    shares: Counter[str] = Counter()
    for function, (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        shares[place_of(function)] += own
    whole = shares.total()
    for place, own in shares.most_common(16):
        print(f"{own / whole:6.1%}  {place}")


if __name__ == "__main__":
    main()
