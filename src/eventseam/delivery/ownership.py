"""Who owns a reader's slots: leases in the database, a fence in every apply.

A lease alone lets a paused owner write twice; the fence (`rev`) is what makes ownership safe, the lease only makes it
quick. The owners share the slots evenly: who has more than its share finishes what runs there and gives them back. An
owner on this machine whose process is gone is replaced at once, without waiting for its lease.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from eventseam.delivery.committer import held
from eventseam.delivery.shift import Shift, Slot
from eventseam.delivery.trouble import Trouble
from eventseam.delivery.window import Window
from eventseam.errors import OutcomeUnknown, StorageError, StorageUnavailable
from eventseam.journal.owners import is_gone
from eventseam.ports.probe import OwnershipChanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eventseam.delivery.committer import Surroundings
    from eventseam.ports.sql import Row, Sql
    from eventseam.ports.transport import LogSource

_LOOK_AGAIN_SECONDS = 0.25
_LEFT_EVERY_SECONDS = 0.02


class Reader(NamedTuple):
    """Who reads: the name of its positions, and the service whose unsettled messages come back in its lanes."""

    name: str
    service: str


class Turn(NamedTuple):
    """What one look at the leases found: the slots that are ours, those that became ours with their lanes that have
    unsettled rows, those that we have too many, who else owns something, and the life of the server in which we looked.
    """

    mine: frozenset[int]
    claimed: dict[int, Slot]
    parked: Sequence[tuple[str, str, int]]
    surplus: Collection[int]
    other: str
    life: str


class Ownership:
    """One reader's claim on the slots of its source."""

    def __init__(self, reader: Reader, source: LogSource, around: Surroundings, lease_seconds: float) -> None:
        """Claim nothing yet. `lease_seconds` is how long a silent owner is respected."""
        self._reader = reader.name
        self._service = reader.service
        self._source = source
        self._around = around
        self._lease = lease_seconds
        self._me = f"{socket.gethostname()}:{os.getpid()}:{around.seams.ids.new()[-12:]}"
        self._told: tuple[str, str, tuple[int, ...]] | None = None

    async def take(self) -> Shift:
        """Wait until slots are free, take our share of them, and load what is true: positions and parked lanes."""
        trouble = Trouble(self._around.probe)
        while True:
            try:
                await self._source.prepare()
                turn = await self._around.store.write(lambda sql: self._turn(sql, is_new=True))
                await self._recall(turn)
                await self._source.own(turn.claimed)
            except (StorageUnavailable, OutcomeUnknown) as error:
                trouble.tell(error, _LOOK_AGAIN_SECONDS)
                turn = None
            if turn is not None and turn.claimed:
                shift = Shift(self._reader, {}, self._source, turn.life)
                shift.join(turn.claimed, turn.parked)
                self._tell("owned", self._me, shift.slots)
                return shift
            if turn is not None:
                self._tell("waiting", turn.other)
            await self._around.seams.clock.sleep(_LOOK_AGAIN_SECONDS)

    async def keep(self, shift: Shift) -> None:
        """Renew the lease until the shift ends: by the fence, by another's take-over, or by a lease run out."""
        clock = self._around.seams.clock
        renewed = clock.monotonic()
        while shift.on:
            if shift.leaving:
                await self._give_back(shift)
            await self._rest(shift)
            if shift.on:
                try:
                    turn = await self._around.store.write(lambda sql: self._turn(sql, is_new=False))
                    await self._recall(turn)
                    if turn.claimed:
                        await self._source.own({*shift.slots, *turn.claimed})
                except (StorageUnavailable, OutcomeUnknown):
                    if clock.monotonic() - renewed >= self._lease:
                        shift.end()
                else:
                    renewed = clock.monotonic()
                    self._go_on(shift, turn)

    async def _rest(self, shift: Shift) -> None:
        """Until the shift ends, the lease is to be renewed, or the broker shares the slots out in another way."""
        clock = self._around.seams.clock
        ends = clock.monotonic() + self._lease / 3
        while shift.on and clock.monotonic() < ends:
            offered = self._source.offered
            if offered is not None and set(offered) != set(shift.slots):
                ends = min(ends, clock.monotonic() + _LOOK_AGAIN_SECONDS)
            left = max(0.0, ends - clock.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(left if offered is None else min(left, _LOOK_AGAIN_SECONDS)):
                    await shift.ended.wait()

    def lost(self) -> None:
        """Tell that the shift is over."""
        self._tell("lost", self._me)

    async def release(self) -> None:
        """Give up every slot, so that the next owner need not wait."""

        async def release(sql: Sql) -> None:
            await sql.changed("release_position", self._reader, self._me)
            await sql.changed("leave", self._reader, self._me)

        try:
            await self._around.store.write(release)
        except (StorageUnavailable, OutcomeUnknown):
            return
        self._tell("released", self._me)

    def _go_on(self, shift: Shift, turn: Turn) -> None:
        """Take note of what a look at the leases found."""
        if turn.mine != frozenset(shift.slots):  # lost, or claimed by a look whose answer was lost
            shift.end()
            return
        if turn.claimed:
            shift.join(turn.claimed, turn.parked)
            self._tell("owned", self._me, shift.slots)
        shift.leaving = set(turn.surplus)

    async def _give_back(self, shift: Shift) -> None:
        """Finish what runs in the slots that are too many, for a third of the lease at most, and give them back."""
        clock = self._around.seams.clock
        ends = clock.monotonic() + self._lease / 3
        while shift.on and not shift.has_left():
            if clock.monotonic() > ends:  # what still runs there is dropped and runs again where the slot goes
                shift.end()
            await clock.sleep(_LEFT_EVERY_SECONDS)
        if not shift.on:
            return
        numbers = sorted(shift.leaving)
        async with held(shift.slots[number] for number in numbers):  # else a position that is being saved is fenced
            try:
                await self._source.own(shift.staying)
                await self._around.store.write(lambda sql: sql.changed("give_back", self._reader, self._me, numbers))
            except (StorageUnavailable, OutcomeUnknown):
                shift.end()
                return
            if not shift.has_left():  # a look that had begun before brought more: it runs where the slot goes
                shift.end()
                return
            shift.drop_leaving()
        self._tell("owned", self._me, shift.slots)

    async def _recall(self, turn: Turn) -> None:
        """Load the cursors of slots that became ours from where they are kept, if that is not our own database."""
        if self._source.memory is not None and turn.claimed:
            revisions = {number: slot.rev for number, slot in turn.claimed.items()}
            for number, cursor in (await self._source.memory.load(revisions)).items():
                slot = turn.claimed[number]
                slot.window.begin(cursor)
                slot.saved = cursor

    async def _turn(self, sql: Sql, *, is_new: bool) -> Turn:
        """Renew what we have and claim what is free, up to our share. What an old shift of ours had is claimed anew."""
        now = self._around.seams.clock.now().timestamp()
        ours = (self._reader, self._me, self._lease, now)
        if is_new:  # else what an old shift had beyond our share would be renewed for ever, and read by nobody
            await sql.changed("release_position", self._reader, self._me)
        await sql.changed("join", *ours)
        await sql.changed("renew", *ours)
        held = [(row[0], row[1]) for row in await sql.rows("held", self._reader)]
        if not held:
            raise StorageError(
                f"{self._reader} has no positions any more: it was forgotten while this process stood still (eventseam "
                "journal forget-reader), or they were deleted. Start it again: it then begins as a new service does"
            )
        members = [str(row[0]) for row in await sql.rows("members", self._reader, now)]
        gone = sorted({owner for owner in (*members, *(owner for _, owner in held)) if owner and is_gone(owner)})
        for owner in gone:
            await sql.changed("leave", self._reader, owner)
        mine = frozenset(slot for slot, owner in held if owner == self._me)
        offered = self._source.offered
        if offered is None:  # we share them out ourselves, evenly
            share = -(-len(held) // max(1, len(members) - len(set(gone).intersection(members))))
            surplus = sorted(mine)[share:]
            rows = await sql.rows("claim", *ours, share - len(mine), gone) if len(mine) < share else ()
        else:
            wanted = sorted(set(offered) - mine)
            surplus = sorted(mine.difference(offered))
            rows = await sql.rows("claim_these", *ours, wanted, gone) if wanted else ()
        claimed = _slots(rows, self._reader)
        if claimed and self._source.is_apart:
            await self._find(sql, claimed)
        parked = await sql.rows("parked_lanes", self._service, sorted(claimed)) if claimed else ()
        other = next((owner for _, owner in held if owner and owner != self._me), "")
        life = str((await sql.rows("life"))[0][0]) if is_new else ""
        return Turn(mine, claimed, [(row[0], row[1], row[2]) for row in parked], surplus, other, life)

    async def _find(self, sql: Sql, claimed: Mapping[int, Slot]) -> None:
        """Begin at the cursors of the source's own log, which are kept beside the positions in our journal."""
        for _, number, text, _ in await sql.rows("apart_cursors", [self._reader]):
            if number in claimed and text is not None:
                slot = claimed[number]
                slot.window.begin(_tuples(msgspec.json.decode(text)))
                slot.saved = slot.window.done

    def _tell(
        self, state: Literal["owned", "waiting", "lost", "released"], owner: str, slots: Iterable[int] = ()
    ) -> None:
        """Report a change once."""
        told = (state, owner, tuple(sorted(slots)))
        if self._told != told and self._around.probe is not None:
            self._around.probe.observe(OwnershipChanged(self._reader, told[2], state, owner))
        self._told = told


def _slots(rows: Iterable[Row], reader: str) -> dict[int, Slot]:
    """Claimed slots as they were stored. Raises StorageError where messages were dropped unread."""
    slots: dict[int, Slot] = {}
    for slot, rev, beyond, gap, *cursor in rows:
        if gap is not None:
            raise StorageError(
                f"{reader} (slot {slot}) has not read all of what was dropped from the journal at {gap}. Repair what "
                "depends on it, then accept the gap: eventseam journal accept-gap"
            )
        slots[slot] = Slot(Window(tuple(cursor), msgspec.json.decode(beyond, type=list[int])), rev)
    return slots


def _tuples(value: object) -> Any:  # noqa: ANN401 - whatever a cursor consists of
    """What was read from JSON, with tuples for lists: cursors are compared."""
    if not isinstance(value, list):
        return value
    return tuple(_tuples(each) for each in cast("list[object]", value))
