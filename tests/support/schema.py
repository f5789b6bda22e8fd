"""What the migrations make of an empty database: `python -m tests.support.schema` writes schema.txt again."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from eventseam.app.settings import Settings
from eventseam.app.stores import open_store
from eventseam.clock import Seams
from eventseam.storage.shape import actual
from eventseam.testing.servers import server_for_tests

FOLDER = Path(__file__).parent.parent.parent / "src" / "eventseam" / "storage" / "migrations"


async def lines_of(url: str) -> list[str]:
    """Migrate the empty database of a URL; what is there then, sorted."""
    store = open_store(Settings(database=url), Seams())
    try:
        await store.migrate()
        return sorted(await store.read(actual))
    finally:
        await store.close()


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder, server_for_tests() as server:
        for dialect, url in (("sqlite", f"sqlite:///{folder}/db"), ("postgresql", server.database("shape"))):
            lines = asyncio.run(lines_of(url))
            (FOLDER / dialect / "schema.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
