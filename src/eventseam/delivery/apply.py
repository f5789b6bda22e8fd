"""The apply: all that a batch of outcomes does to the database, in one transaction, written once for all drivers.

Order matters: the fence first (zero rows = another owner), the inbox next (what it knows is dropped), then unsettled
rows, the recorded writes merged by lane heads, and the journal last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from eventseam.delivery.copies import copy_dead
from eventseam.delivery.item import Done, Item, Parked
from eventseam.delivery.merge import merged
from eventseam.delivery.unsettled import park, postpone, settle
from eventseam.errors import Fenced
from eventseam.journal.append import append, origin_of, rows_for, timestamp
from eventseam.ports.sql import Opening
from eventseam.ports.transport import Cursor

if TYPE_CHECKING:
    from eventseam.clock import Seams
    from eventseam.delivery.handler import Record
    from eventseam.ports.sql import Sql


class Fence(NamedTuple):
    """A position that moves in the apply, if its row still has revision `rev` and the server is in the same `life`.

    Of a log apart from the journal `done` is kept as text, and the position in the journal stays `stored`.
    """

    reader: str
    slot: int
    rev: int
    beyond: Sequence[int]
    done: Cursor
    life: str
    stored: Cursor | None = None


async def pass_fences(sql: Sql, fences: Sequence[Fence], seams: Seams, *, alone: bool = True) -> None:
    """Move every position, all in one statement. Raises Fenced, naming the reader, when another owner has taken over.

    `alone` lets no other apply of these services run meanwhile, wherever it runs: two that touch the same rows in
    different orders would wait for each other.
    """
    seams.at("pre-position")
    if fences:
        await _check(sql, fences, await sql.changed("fence", _moves(fences), alone))
    seams.at("post-position")


def opening_of(fences: Sequence[Fence]) -> Opening | None:
    """The statement by which a transaction of its own passes fences; `check_opening` says whether it did."""
    return Opening("fence", (_moves(fences), False)) if fences else None


async def check_opening(sql: Sql, fences: Sequence[Fence], opening: Opening | None, seams: Seams) -> None:
    """Raise Fenced, naming the reader, if a transaction's opening has not passed its fences."""
    seams.at("pre-position")
    if opening is not None:
        await _check(sql, fences, opening.changed)
    seams.at("post-position")


def _moves(fences: Sequence[Fence]) -> str:
    return msgspec.json.encode([_move(fence) for fence in fences]).decode()


def _move(fence: Fence) -> tuple[object, ...]:
    if fence.stored is None:
        return (*fence[:4], *fence.done, fence.life)
    return (*fence[:4], *fence.stored, fence.life, msgspec.json.encode(fence.done).decode())


async def _check(sql: Sql, fences: Sequence[Fence], moved: int) -> None:
    if moved != len(fences):
        raise Fenced(await _fenced_reader(sql, fences))


async def _fenced_reader(sql: Sql, fences: Sequence[Fence]) -> str:
    """Whose fence did not hold: the others' revisions have moved, in this transaction that will be rolled back."""
    readers = sorted({fence.reader for fence in fences})
    now = {(row[0], row[1]): row[2] for row in await sql.rows("revisions", readers)}
    return next((each.reader for each in fences if now.get((each.reader, each.slot)) != each.rev + 1), readers[0])


async def apply(sql: Sql, leaders: Sequence[Item], fences: Sequence[Fence], seams: Seams) -> int:
    """Apply the outcomes of `leaders` (and of the batches they lead); how many messages were published.

    What a broker's message leaves dead is published as well. Each item's `result` says what was found. Raises Fenced,
    TornBatch, or the error of a recorded write.
    """
    now = seams.clock.now()
    await pass_fences(sql, fences, seams)
    await claim_inbox(sql, leaders, timestamp(now))
    dead = await settle_rows(sql, leaders, now.timestamp())
    records = [
        (item, item.outcome.record) for item in leaders if item.result == "applied" and isinstance(item.outcome, Done)
    ]
    seams.at("pre-settle")
    for statement, args in merged(record.writes for _, record in records):
        await sql.many(statement, args)
    seams.at("post-settle")
    published = await publish(sql, records, seams, timestamp(now))
    return published + await copy_dead(sql, dead, seams, now) if dead else published


async def publish(sql: Sql, records: Iterable[tuple[Item, Record]], seams: Seams, created_at: str) -> int:
    """Append what each item's record publishes; how many messages that was."""
    rows: list[tuple[object, ...]] = []
    for item, record in records:
        if record.messages:
            origin = origin_of(item.handler.service, item.received.envelope)
            rows += rows_for(record.messages, origin, seams, created_at)
    if rows:
        seams.at("pre-publish")
        await append(sql, rows)
        seams.at("post-publish")
    return len(rows)


async def claim_inbox(sql: Sql, leaders: Sequence[Item], at: str) -> None:
    """Mark every new message as taken; what the inbox knows already gets the result "duplicate".

    A batch of which the inbox knows a part raises TornBatch: its record cannot be cut.
    """
    groups: dict[int, list[Item]] = {}
    for leader in leaders:
        for item in (leader, *leader.others) if leader.others else (leader,):
            item.result = "applied"
            if item.row is None:
                groups.setdefault(id(item.handler), []).append(item)
    for items in groups.values():
        handler = items[0].handler
        ids = [item.received.envelope.id for item in items]
        rows = await sql.rows("claim_inbox", ids, handler.service, handler.name, at)
        if len(rows) != len(items):
            _mark_duplicates(items, {row[0] for row in rows})
    for leader in leaders:
        if leader.others and len({item.result for item in (leader, *leader.others)}) > 1:
            raise TornBatch


def _mark_duplicates(items: Iterable[Item], fresh: set[str]) -> None:
    """The first item of each fresh id keeps "applied": one batch may hold the same message twice."""
    for item in items:
        if item.received.envelope.id in fresh:
            fresh.discard(item.received.envelope.id)
        else:
            item.result = "duplicate"


async def settle_rows(sql: Sql, leaders: Iterable[Item], now: float) -> list[Item]:
    """Add, change and drop unsettled rows; the items that are given up, of which those behind others still wait.

    A row that somebody else has settled gives the result "gone".
    """
    dead: list[Item] = []
    for leader in leaders:
        if leader.row is None and type(leader.outcome) is Done:
            continue  # nearly all of them; the others of a batch are done with their leader
        for item in (leader, *leader.others) if leader.others else (leader,):
            outcome = item.outcome
            if item.result != "applied" or outcome is None:
                continue
            if item.row is not None:
                kept = settle(sql, item, now) if isinstance(outcome, Done) else postpone(sql, item, outcome, now)
                item.result = "applied" if await kept else "gone"
            elif isinstance(outcome, Parked) and not await park(sql, item, outcome, now):
                item.result = "duplicate"
            if isinstance(outcome, Parked) and outcome.state == "dead" and item.result == "applied":
                dead.append(item)
    return dead


class TornBatch(Exception):  # noqa: N818 - a signal inside the engine
    """The inbox knows a part of a batch: its messages must be handled one by one."""
