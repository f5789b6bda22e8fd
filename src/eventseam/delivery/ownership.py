"""Who owns a reader's slots: leases in the database, a fence in every apply.

A lease alone lets a paused owner write twice; the fence (`rev`) is what makes ownership safe, the lease only makes it
quick. An owner on this machine whose process is gone is replaced at once, without waiting for its lease.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Literal

import msgspec

from eventseam.delivery.shift import Shift, Slot
from eventseam.delivery.window import Window
from eventseam.errors import StorageUnavailable
from eventseam.ports.probe import OwnershipChanged

if TYPE_CHECKING:
    from eventseam.delivery.committer import Surroundings
    from eventseam.ports.sql import Sql

_LOOK_AGAIN_SECONDS = 0.25


class Ownership:
    """One reader's claim on the slots of its source."""

    def __init__(self, reader: str, slots: int, around: Surroundings, lease_seconds: float) -> None:
        """Claim nothing yet. `lease_seconds` is how long a silent owner is respected."""
        self._reader = reader
        self._slots = slots
        self._around = around
        self._lease = lease_seconds
        self._me = f"{socket.gethostname()}:{os.getpid()}:{around.seams.ids.new()[-12:]}"
        self._told: tuple[str, str] | None = None

    async def take(self) -> Shift:
        """Wait until slots are free, take them, and load what is true: positions and parked lanes."""
        while True:
            try:
                shift = await self._around.store.write(self._try_to_take)
            except StorageUnavailable:
                shift = None
            if shift is not None:
                self._tell("owned", self._me)
                return shift
            await self._around.seams.clock.sleep(_LOOK_AGAIN_SECONDS)

    async def keep(self, shift: Shift) -> None:
        """Renew the lease until the shift ends: by the fence, by another's take-over, or by a lease run out."""
        clock = self._around.seams.clock
        renewed = clock.monotonic()
        while shift.on:
            try:
                async with asyncio.timeout(self._lease / 3):
                    await shift.ended.wait()
            except TimeoutError:
                try:
                    kept = await self._around.store.write(self._renew)
                except StorageUnavailable:
                    kept = clock.monotonic() - renewed < self._lease
                else:
                    renewed = clock.monotonic()
                if not kept:
                    shift.end()

    def lost(self) -> None:
        """Tell that the shift is over."""
        self._tell("lost", self._me)

    async def release(self) -> None:
        """Give up every slot, so that the next owner need not wait."""
        try:
            await self._around.store.write(self._release)
        except StorageUnavailable:
            return
        self._tell("released", self._me)

    async def _try_to_take(self, sql: Sql) -> Shift | None:
        now = self._around.seams.clock.now().timestamp()
        slots: dict[int, Slot] = {}
        for number in range(self._slots):
            await sql.changed("new_position", self._reader, number)
            done, beyond, rev, owner, lease_until = (await sql.rows("load_position", self._reader, number))[0]
            if owner != self._me and not _is_free(owner, lease_until, now, self._lease):
                self._tell("waiting", owner)
                continue
            if await sql.changed("take_position", self._me, now + self._lease, self._reader, number, rev):
                slots[number] = Slot(Window(done, msgspec.json.decode(beyond, type=list[int])), rev + 1)
        if not slots:
            return None
        shift = Shift(self._reader, slots)
        shift.parked.update({(row[0], row[1]): 0 for row in await sql.rows("parked_lanes", self._reader)})
        return shift

    async def _renew(self, sql: Sql) -> bool:
        until = self._around.seams.clock.now().timestamp() + self._lease
        return bool(await sql.changed("renew_lease", until, self._reader, self._me))

    async def _release(self, sql: Sql) -> None:
        await sql.changed("release_position", self._reader, self._me)

    def _tell(self, state: Literal["owned", "waiting", "lost", "released"], owner: str) -> None:
        """Report a change once."""
        if self._told != (state, owner) and self._around.probe is not None:
            self._around.probe.observe(OwnershipChanged(self._reader, 0, state, owner))
        self._told = (state, owner)


def _is_free(owner: str | None, lease_until: float, now: float, lease_seconds: float) -> bool:
    """Whether a slot may be taken. A lease further away than one can be was written by a clock that jumped."""
    if owner is None or lease_until <= now or lease_until > now + 2 * lease_seconds:
        return True
    host, pid, _ = owner.rsplit(":", 2)
    return host == socket.gethostname() and not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
