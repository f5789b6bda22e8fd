"""The gates of a reader's slots are taken in one order everywhere: two that take several never wait for each other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from eventseam import Seams
from eventseam.delivery.committer import Committer, Surroundings
from eventseam.delivery.shift import Shift, Slot
from eventseam.delivery.window import Window


class Nowhere:
    """A store that takes what it is given."""

    async def write(self, _operation: object) -> None: ...


def moved() -> Slot:
    """A slot whose position has moved and is not saved yet."""
    slot = Slot(Window((1,), ()), 1)
    slot.saved = (0,)
    return slot


async def test_saving_positions_takes_gates_in_the_order_of_slots_whatever_the_order_of_claims():
    shift = Shift("ears", {3: moved(), 1: moved(), 2: moved()})
    committer = Committer(Surroundings(cast("Any", Nowhere()), Seams(), None, lambda: None))
    async with asyncio.timeout(5):
        await shift.slots[1].gate.acquire()  # an apply has it, and wants the others next
        saving = asyncio.create_task(committer.save(shift))
        await asyncio.sleep(0)
        assert [False, False] == [shift.slots[number].gate.locked() for number in (2, 3)]
        shift.slots[1].gate.release()
        await saving
    assert [(1,)] * 3 == [slot.saved for slot in shift.slots.values()]
