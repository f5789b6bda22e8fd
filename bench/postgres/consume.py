"""Idempotent consume on PostgreSQL: the inbox, a receipt and an event per message, from a full journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

from bench.measure import Case, Comparison, Variant
from bench.postgres import engine, raw
from bench.postgres.services import Form, recorded
from bench.postgres.timing import Watch, with_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.measure import Timing
    from bench.postgres.databases import Databases

CLASSIC, FASTSTREAM = "classic, one connection", "FastStream handler, classic body"
CLASSIC_DEF = "classic by psycopg, one connection"
_FLOOR = "page, decode, inbox, row, outbox, position; nothing else"
_TODAY = "SELECT, BEGIN, 3 INSERTs, COMMIT per message; a failing message stops it"
_OURS = "all of it, and lanes, retry, circuit, time-outs, fence, lease, slots, stop, limits"
_MUST_OF_RAW: dict[Form, float] = {"sql": 0.6, "core constant": 0.6, "orm": 0.5, "def": 0.5}
"""Not `core`: SQLAlchemy needs as long as the floor's whole message to build `insert(…).values(…)` anew."""
_SLOW: tuple[Form, ...] = ("tx", "tx def")
_BLOCKING: tuple[Form, ...] = ("def", "tx def")
_SLOWER = 10
"""What takes a transaction per message gets so much fewer messages."""
KEYS = (None, 200)


def consume(count: int, databases: Databases, forms: tuple[Form, ...] = get_args(Form), *, peers: bool = True) -> Case:
    """Drain a journal of `count` messages. Also checks that every variant has written the same number of rows."""
    few = max(500, count // _SLOWER)
    variants = [
        *(Variant(f"raw, {_called(keys)}", _measured(databases, _raw, count, keys), _FLOOR) for keys in KEYS),
        Variant(CLASSIC, _measured(databases, _classic, few, None), _TODAY),
        Variant(CLASSIC_DEF, _measured(databases, _classic_def, few, None), _TODAY),
    ]
    if peers:
        from bench.postgres.peers import faststream  # it is installed for `make bench` only

        variants.append(Variant(FASTSTREAM, _measured(databases, faststream, few, None), _TODAY))
    comparisons: list[Comparison] = []
    for form in forms:
        for keys in KEYS:
            ours, floor = f"eventseam, {form}, {_called(keys)}", f"raw, {_called(keys)}"
            number = few if form in _SLOW else count
            variants.append(Variant(ours, _measured(databases, _ours(form), number, keys), _OURS))
            comparisons += _comparisons(ours, floor, form)
    title = "Consume on PostgreSQL: inbox, one row, one event and the position per message"
    return Case("pg-consume", title, variants, comparisons)


def _comparisons(ours: str, floor: str, form: Form) -> list[Comparison]:
    distinct = "distinct" in ours
    must = _MUST_OF_RAW.get(form)
    times = 1.5 if form in _SLOW else 15.0 if form == "sql" else None
    found = [
        Comparison(f"{ours}: of raw", ours, floor, must=must if distinct else None),
        Comparison(f"{ours}: times classic", ours, CLASSIC, must=times if distinct else None),
    ]
    if form in _BLOCKING:
        found.append(Comparison(f"{ours}: times classic by psycopg", ours, CLASSIC_DEF))
    return found


def _called(keys: int | None) -> str:
    return f"{keys} keys" if keys else "distinct keys"


def _measured(
    databases: Databases, work: Callable[[str, int], Timing], count: int, keys: int | None
) -> Callable[[], Timing]:
    """One round on a fresh copy of the database."""
    template = databases.filled(count, keys)

    def measure() -> Timing:
        url = databases.fresh(template)
        found = with_server(databases.server.pid, count, lambda: work(url, count))
        written = raw.counts(url)
        assert written == (count,) * 3, f"expected {count} receipts, inbox rows and events, found {written}"
        return found

    return measure


def _raw(url: str, count: int) -> Timing:
    return asyncio.run(by_hand(url, count, raw.Floor.consume))


def _classic(url: str, count: int) -> Timing:
    return asyncio.run(by_hand(url, count, raw.Floor.consume_classic))


def _classic_def(url: str, count: int) -> Timing:
    watch = Watch()
    raw.consume_classic_blocking(url, count)
    return watch.per(count)


async def by_hand(url: str, count: int, consume_page: Callable[[raw.Floor], object]) -> Timing:
    """Consume page after page."""
    floor = await raw.Floor.open(url)
    watch, left = Watch(), count
    while left > 0:
        left -= await consume_page(floor)  # type: ignore[misc]
    found = watch.per(count)
    await floor.close()
    return found


def _ours(form: Form) -> Callable[[str, int], Timing]:
    return lambda url, count: engine.consume(url, recorded(form), count)
