"""The six processes of a demo: none outlives the block, nor the loop that has to hear of its end."""

from __future__ import annotations

import asyncio

import pytest

from eventseam.demo.events import Tally
from eventseam.demo.processes import six_processes
from eventseam.demo.where import NAMES, Where


async def test_whoever_is_killed_at_a_cancellation_has_ended_before_the_block_does(tmp_path):
    where = Where.in_one(f"sqlite:///{tmp_path}/shop.db", tmp_path / "outside")
    seen = []

    async def run():
        async with six_processes(where, Tally()) as six, asyncio.TaskGroup() as group:
            group.create_task(six.run())
            while len(six._running) < len(NAMES):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            seen.extend(six._running.values())
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run()
    assert len(NAMES) == len(seen)
    assert all(process.returncode is not None for process in seen)
