"""Where a consumed message's time goes: `python -m bench.profile [FORM]`. Shares of the loop's time, under cProfile.

Without FORM on SQLite; with one (`sql`, `orm`, `tx`, …) on PostgreSQL. The profiler slows Python functions more than a
driver's, so the shares of the engine's own code are upper bounds. `--lines` also names the functions.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
from collections import Counter
from pathlib import Path
from typing import get_args

from bench import engine
from bench.sqlite import copied, prefilled

COUNT = 30_000
_LINES = 40


def place_of(function: tuple[str, int, str]) -> str:
    """What a profiled function belongs to."""
    file, _, name = function
    if "sqlite3" in name:
        return "SQLite: pages, statements, rows"
    if "eventseam/" in file:
        return "eventseam." + file.rsplit("eventseam/", 1)[1].removesuffix(".py").replace("/", ".")
    if "epoll" in name or "select" in name:
        return "waiting for the server and for threads"
    for package in ("asyncpg", "psycopg", "sqlalchemy", "confluent_kafka", "asyncio"):
        if package in file or package in name:
            return package
    return "msgspec" if "msgspec" in name else "built-in functions and the handler"


def main() -> None:
    """Drain a journal under the profiler and print the shares, the largest first."""
    options = _options()
    profile = cProfile.Profile()
    if options.form is None:
        _on_sqlite(profile, options.messages)
    else:
        _on_postgresql(profile, options.messages, options.form)
    stats = pstats.Stats(profile)
    show_shares(stats, options.messages)
    if options.lines:
        stats.sort_stats("tottime").print_stats(_LINES)


def show_shares(stats: pstats.Stats, count: int) -> None:
    """Print what took most of the time of `count` messages, by place."""
    shares: Counter[str] = Counter()
    for function, (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        shares[place_of(function)] += own
    whole = shares.total()
    print(f"{whole / count * 1e6:.1f} us per message, of which")
    for place, own in shares.most_common(24):
        print(f"{own / whole:6.1%} {own / count * 1e6:7.2f} us  {place}")


def _on_sqlite(profile: cProfile.Profile, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = copied(prefilled(Path(folder) / "prefilled.db", count, None))
        profile.enable()
        asyncio.run(engine.consume(path, "full", count))
        profile.disable()


def _on_postgresql(profile: cProfile.Profile, count: int, form: str) -> None:
    from bench.postgres.databases import databases
    from bench.postgres.engine import consume
    from bench.postgres.services import Form, recorded

    if form not in get_args(Form):
        raise SystemExit(f"no form {form!r}: {', '.join(get_args(Form))}")
    with databases() as server:
        url = server.fresh(server.filled(count, None))
        service = recorded(form)  # type: ignore[arg-type]
        profile.enable()
        consume(url, service, count)
        profile.disable()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.profile", description=__doc__)
    parser.add_argument("form", nargs="?", help="the form of the handler on PostgreSQL; none: SQLite")
    parser.add_argument("--messages", type=int, default=COUNT)
    parser.add_argument("--lines", action="store_true", help="name the functions that take most")
    return parser.parse_args()


if __name__ == "__main__":
    main()
