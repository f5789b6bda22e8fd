"""Import: what `import eventseam` adds to a bare interpreter, in fresh processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.measure import Case, Comparison, Fact, Variant

if TYPE_CHECKING:
    from pathlib import Path

CODES = {
    "bare interpreter": "pass",
    "import msgspec": "import msgspec",
    "import asyncio": "import asyncio",
    "import eventseam": "import eventseam",
    "import eventseam, make an App": "import eventseam; eventseam.App(eventseam.Service('orders'))",
}
CLIENTS = ("asyncpg", "confluent_kafka", "psycopg", "sqlalchemy")
_LOADED = f"import sys, eventseam; print(*sorted(set({CLIENTS}) & set(sys.modules)))"


def imports(count: int, folder: Path) -> Case:
    """The median of `count` fresh interpreters per round and variant, with compiled modules in `folder`."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")

    def started(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=environ)
        return (time.perf_counter() - began) * 1e3

    def facts() -> list[Fact]:
        done = subprocess.run([sys.executable, "-c", _LOADED], check=True, env=environ, capture_output=True, text=True)
        found = done.stdout.strip()
        return [Fact(f"of {', '.join(CLIENTS)}, import eventseam imports", "none", found or "none", not found)]

    for code in CODES.values():
        started(code)
    variants = [
        Variant(name, lambda code=code: statistics.median(started(code) for _ in range(count)))
        for name, code in CODES.items()
    ]
    over = Comparison(
        "import eventseam over the bare interpreter", "import eventseam", "bare interpreter", "difference", must=100.0
    )
    return Case("import", "Import in a fresh interpreter", variants, [over], unit="ms", per="start", facts=facts)
