"""Planted bugs: each swaps one function or statement of the engine for the variant that people write by hand.

A plant is a context manager; what runs inside it, forked processes included, has the bug. Its docstring says what is
wrong. Two of them, `inbox_off` and `fence_off`, also serve scenarios that test one lock with the other one off.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from eventseam.delivery import apply, attempts, unsettled
from eventseam.delivery.attempts import Attempts
from eventseam.delivery.circuit import CircuitState
from eventseam.delivery.committer import Committer, _fences, _positions
from eventseam.delivery.engine import Engine
from eventseam.delivery.handler import Record
from eventseam.delivery.item import Done, Item, Lane
from eventseam.delivery.lanes import Lanes
from eventseam.delivery.window import Window
from eventseam.journal.append import append, origin_of, rows_for, timestamp
from eventseam.journal.source import Hint, JournalSource
from eventseam.storage import catalog
from eventseam.storage.catalog import Migration


@contextmanager
def swapped(*changes: tuple[object, str, object]) -> Iterator[None]:
    """Replace attributes (owner, name, value) for as long as the block runs."""
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


@contextmanager
def reworded(name: str, text: str) -> Iterator[None]:
    """Replace a named statement, for databases that are opened inside the block."""
    parse = catalog.parse_statements
    assert name in catalog.statements("sqlite"), f"there is no statement {name!r}: the plant is of an older engine"

    def parse_and_replace(source: str) -> dict[str, str]:
        found = parse(source)
        return {each: text if each == name else honest for each, honest in found.items()}

    with swapped((catalog, "parse_statements", parse_and_replace)):
        yield


def items_of(leaders: Sequence[Item]) -> list[Item]:
    """Leaders and the batches that they lead."""
    return [item for leader in leaders for item in (leader, *leader.others)]


# --------------------------------------------------------------------------------------------- commit and its parts


def settle_before_commit():
    """Callers are answered, lanes released and positions counted as saved before the transaction is committed."""

    async def write(self: Committer, batch: Sequence[Item]) -> None:
        around = self._around
        positions = _positions(batch)
        fences = _fences(positions)
        self._finish(batch, positions, fences, around.seams.clock.monotonic(), 0)
        await around.store.write(lambda sql: apply.apply(sql, batch, fences, around.seams))

    return swapped((Committer, "_write", write))


def inbox_in_a_transaction_of_its_own():
    """The inbox is marked in one transaction, the effects follow in the next."""
    write, claim = Committer._write, apply.claim_inbox

    async def write_twice(self: Committer, batch: Sequence[Item]) -> None:
        around = self._around
        at = timestamp(around.seams.clock.now())
        await around.store.write(lambda sql: claim(sql, batch, at))
        await write(self, batch)

    return swapped((Committer, "_write", write_twice), (apply, "claim_inbox", _nothing))


def position_before_effect():
    """The position is saved in a transaction of its own before the effects."""
    write, fence = Committer._write, apply.pass_fences

    async def write_twice(self: Committer, batch: Sequence[Item]) -> None:
        around = self._around
        fences = _fences(_positions(batch))
        await around.store.write(lambda sql: fence(sql, fences, around.seams))
        await write(self, batch)

    return swapped((Committer, "_write", write_twice), (apply, "pass_fences", _nothing))


def event_after_the_transaction():
    """The state change is committed; its events are appended afterwards."""
    write = Committer._write

    async def write_and_append(self: Committer, batch: Sequence[Item]) -> None:
        await write(self, batch)
        await self._around.store.write(lambda sql: append(sql, _rows(self, batch)))

    return swapped((Committer, "_write", write_and_append), (apply, "publish", _nothing_published))


def event_before_the_transaction():
    """Events are appended first; the state change is committed afterwards, or not."""
    write = Committer._write

    async def append_and_write(self: Committer, batch: Sequence[Item]) -> None:
        await self._around.store.write(lambda sql: append(sql, _rows(self, batch)))
        await write(self, batch)

    return swapped((Committer, "_write", append_and_write), (apply, "publish", _nothing_published))


def _rows(committer: Committer, batch: Sequence[Item]) -> list[tuple[object, ...]]:
    seams = committer._around.seams
    rows: list[tuple[object, ...]] = []
    for item in batch:
        if isinstance(item.outcome, Done) and item.result in ("", "applied"):
            origin = origin_of(item.handler.service, item.received.envelope)
            rows += rows_for(item.outcome.record.messages, origin, seams, timestamp(seams.clock.now()))
    return rows


async def _nothing(*_: object) -> None:
    return None


async def _nothing_published(*_: object) -> int:
    return 0


# ------------------------------------------------------------------------------------------------- inbox and fence


def inbox_off():
    """Nothing is remembered of what was applied."""
    return reworded("claim_inbox", "SELECT value FROM json_each($1) WHERE coalesce($2, $3, $4) IS NOT NULL")


def fence_off():
    """A position is moved whoever owns it by now."""
    from eventseam.storage.catalog import statements

    honest = statements("sqlite")["fence"]
    return reworded("fence", honest.replace("positions.rev = f.rev", "f.rev IS NOT NULL"))


def check_then_act():
    """The inbox is asked before the handler runs, and only told in the transaction."""
    attempt = Attempts._attempt

    async def check_and_attempt(self: Attempts, worker: Any, item: Item) -> None:
        if await _is_known(self, item):
            item.outcome = Done(Record())
            self._committer.offer(item)
        else:
            await attempt(self, worker, item)

    async def tell(sql: Any, leaders: Sequence[Item], at: str) -> None:
        for item in items_of(leaders):
            item.result = "applied"
            taken = "INSERT INTO processed_events VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
            await sql.rows(taken, item.received.envelope.id, item.handler.service, item.handler.name, at)

    return swapped((Attempts, "_attempt", check_and_attempt), (apply, "claim_inbox", tell))


async def _is_known(engine: Attempts, item: Item) -> bool:
    asked = "SELECT 1 FROM processed_events WHERE event_id = $1 AND service = $2 AND handler = $3"
    ids = (item.received.envelope.id, item.handler.service, item.handler.name)
    return item.row is None and bool(await engine._around.store.read(lambda sql: sql.rows(asked, *ids)))


@contextmanager
def unsettled_not_unique() -> Iterator[None]:
    """A message is marked as taken when it is applied, not when it is parked; two copies of it may be parked."""
    claim, unique = apply.claim_inbox, "UNIQUE (service, handler, message_id)"
    assert any(unique in each.script for each in catalog.migrations("sqlite")), "the plant is of an older schema"

    async def claim_done(sql: Any, leaders: Sequence[Item], at: str) -> None:
        for item in items_of(leaders):
            item.result = "applied"
        await claim(sql, [leader for leader in leaders if isinstance(leader.outcome, Done)], at)

    def migration(number: int, name: str, script: str) -> Migration:
        return Migration(number, name, script.replace(unique, "CHECK (true)"))

    with swapped((apply, "claim_inbox", claim_done), (catalog, "Migration", migration)):
        yield


# ---------------------------------------------------------------------------------------------------- order in lanes


def retry_at_the_tail():
    """A failed message goes to the end of its lane: what is behind it runs first."""

    def drain(self: Lanes, lane: Lane) -> list[Item]:
        self.release(lane)
        return []

    return swapped((Lanes, "drain", drain))


def newcomers_pass_a_parked_lane():
    """What arrives later does not look whether its lane waits."""

    def let_pass(self: Engine, _shift: object, item: Item) -> None:
        self._lanes.offer(item)

    return swapped((Engine, "_let_wait", let_pass))


def parked_lanes_forgotten_at_start():
    """After a restart nobody remembers that a lane waits."""
    return reworded(
        "parked_lanes", "SELECT DISTINCT handler, lane, slot FROM unsettled WHERE service = $1 AND $2 IS NULL"
    )


def newest_becomes_the_head():
    """When the head of a lane is settled, the newest of those behind it comes next."""
    return reworded(
        "promote",
        "UPDATE unsettled SET state = 'retrying', next_at = $4 WHERE state = 'waiting' AND id = "
        "(SELECT max(id) FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3)",
    )


def writes_grouped_by_text():
    """All writes of a batch with one SQL text run together."""

    def grouped(lanes: Any) -> Iterator[tuple[str, list[Sequence[object]]]]:
        groups: dict[str, list[Sequence[object]]] = {}
        for lane in lanes:
            for statement, args in lane:
                groups.setdefault(statement, []).append(args)
        yield from groups.items()

    return swapped((apply, "merged", grouped))


def lane_released_before_commit():
    """The next message of a lane starts when the record of the one before it is offered, not when it is committed."""
    offer = Committer.offer

    def offer_and_release(self: Committer, item: Item) -> None:
        offer(self, item)
        if item.from_source and isinstance(item.outcome, Done):
            item.home._lanes.release(item.lane)  # type: ignore[attr-defined]

    return swapped((Committer, "offer", offer_and_release))


# ---------------------------------------------------------------------------------------------------------- position


def position_past_unfinished_work():
    """The position is the last message that finished, whatever is still running before it."""

    def after(self: Window, finished: Sequence[int]) -> tuple[Any, list[int]]:
        return (max([*self.done, *finished]),), []

    return swapped((Window, "after", after))


def low_water_only():
    """The position forgets what finished beyond its low water."""
    honest = Window.after
    return swapped((Window, "after", lambda self, finished: (honest(self, finished)[0], [])))


def cancelled_counts_as_finished():
    """A handler that a shutdown cancels has its message settled."""
    attempt = Attempts._attempt

    async def attempt_and_settle(self: Attempts, worker: Any, item: Item) -> None:
        try:
            await attempt(self, worker, item)
        except asyncio.CancelledError:
            item.outcome = Done(Record())
            self._committer.offer(item)
            raise

    return swapped((Attempts, "_attempt", attempt_and_settle))


# --------------------------------------------------------------------------------------------- failures and wake-up


def no_circuit():
    """A failing handler is called as long as it has attempts left: an outage uses them up."""
    return swapped((CircuitState, "after_failure", lambda self, *_: self))


def probes_burn_attempts():
    """Probing an open circuit costs the probed message an attempt."""
    parked = attempts.Attempts._parked

    def burning(self: Attempts, item: Item, error: BaseException) -> Any:
        honest, burnt = parked(self, item, error), item.attempts + 1
        return dataclasses.replace(
            honest, attempts=burnt, state="dead" if burnt >= item.handler.retry.attempts else "retrying"
        )

    return swapped((Attempts, "_parked", burning))


def batch_called_again():
    """When a batch cannot be applied, all of its handlers are called again."""

    async def isolate(_self: Committer, batch: Sequence[Item], _error: Exception) -> None:
        for item in batch:
            item.home._lanes.ready[item.handler.name].put(item)  # type: ignore[attr-defined]

    return swapped((Committer, "_isolate", isolate))


def dead_letter_as_text():
    """A dead letter's bytes are kept as readable text."""

    def readable(body: bytes | str) -> bytes:
        text = body if isinstance(body, str) else body.decode("utf-8", "replace")
        return text.encode("utf-8", "replace")

    return swapped((unsettled, "raw", readable))


def hint_dropped():
    """A commit wakes nobody."""
    return swapped((Hint, "give", lambda _self: None))


def hint_cleared_after_the_look():
    """The reader clears the wake-up after it has looked: one that comes in between is lost."""
    fetch = JournalSource.fetch

    async def look_and_clear(self: JournalSource, *args: Any) -> Any:
        page = await fetch(self, *args)
        self._woken.clear()
        return page

    return swapped((JournalSource, "fetch", look_and_clear))
