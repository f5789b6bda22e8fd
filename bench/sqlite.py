"""Consume and publish on SQLite: the engine with every safeguard, beside the floor that writes the same rows."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from bench import engine, raw
from bench.measure import Case, Comparison, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = ("full, distinct keys", "full, 200 keys", "normal, distinct keys", "normal, 200 keys")
_FLOOR = "page, decode, inbox, row, outbox, position; nothing else"
_OURS = "all of it, and lanes, retry, circuit, time-outs, fence, lease, stop, limits"


def consume(count: int, folder: Path) -> Case:
    """Drain a journal of `count` messages. Also checks that both variants have written the same number of rows."""
    templates = {keys: prefilled(folder / f"keys-{keys}.db", count, keys) for keys in (None, 200)}
    variants: list[Variant] = []
    comparisons: list[Comparison] = []
    for form in FORMS:
        durability, template = form.partition(",")[0], templates[200 if "200" in form else None]
        floor, ours = f"raw, {form}", f"eventseam, {form}"
        variants.append(Variant(floor, _measured(template, durability, count, raw.consume), _FLOOR))
        variants.append(Variant(ours, _measured(template, durability, count, _consume), _OURS))
        comparisons.append(Comparison(f"consume of raw, {form}", ours, floor, must=0.5))
    title = "Consume on SQLite: inbox, one row, one event and the position per message, in transactions of up to 500"
    return Case("consume", title, variants, comparisons)


def publish(count: int, folder: Path) -> Case:
    """Publish `count` messages in batches while they are handled."""
    template = prefilled(folder / "empty.db", 0, None)
    variants: list[Variant] = []
    comparisons: list[Comparison] = []
    for durability in ("full", "normal"):
        floor, ours = f"raw, {durability}", f"eventseam, {durability}"
        variants.append(Variant(floor, _measured(template, durability, count, raw.publish), _FLOOR))
        variants.append(Variant(ours, _measured(template, durability, count, _publish), _OURS))
        comparisons.append(Comparison(f"publish to handled of raw, {durability}", ours, floor))
    return Case("publish", "Publish in batches of 500 until all is handled, on SQLite", variants, comparisons)


def _consume(path: Path, durability: str, count: int) -> float:
    return asyncio.run(engine.consume(path, durability, count))


def _publish(path: Path, durability: str, count: int) -> float:
    return asyncio.run(engine.publish(path, durability, count))


def _measured(
    template: Path, durability: str, count: int, work: Callable[[Path, str, int], float]
) -> Callable[[], float]:
    """One round on a fresh copy of the database: microseconds per message."""

    def measure() -> float:
        path = copied(template)
        seconds = work(path, durability, count)
        _check(path, count)
        return seconds / count * 1e6

    return measure


def copied(template: Path) -> Path:
    """A fresh copy of a database beside it, without the leftovers of the last one."""
    path = template.with_name("work.db")
    for leftover in path.parent.glob("work.db*"):
        leftover.unlink()
    return Path(shutil.copy(template, path))


def prefilled(path: Path, count: int, keys: int | None) -> Path:
    """A database whose journal holds `count` orders that nobody has handled."""
    asyncio.run(engine.migrate(path))
    floor = raw.Floor(path, "normal")
    floor.append(0, count, keys)
    floor.close()
    return path


def _check(path: Path, count: int) -> None:
    connection = sqlite3.connect(path)
    tables = ("receipts", "processed_events", "event_outbox WHERE aggregate_type = 'receipt'")
    found = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    connection.close()
    assert found == [count] * 3, f"expected {count} rows each in {tables}, found {found}"
