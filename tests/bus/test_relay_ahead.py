"""The relay's look ahead: the next page is under way while one is noted and published, and nothing else changes.

What a planted bug makes fail is in tests/teeth_postgres/ahead.py.
"""

from __future__ import annotations

import asyncio

import pytest

from eventseam.errors import OutcomeUnknown, StorageUnavailable
from eventseam.testing.servers import postgres
from tests.bus.test_bus import Relayed, Scripted, _run, until
from tests.support.postgres import query
from tests.teeth_postgres import ahead


async def test_the_next_page_is_fetched_while_one_is_published(postgres_url):
    await _several(postgres_url)
    seen: list[int] = []

    async def look(_batch):
        await until(lambda: relayed.source.ended > len(seen) + 1)
        seen.append(relayed.source.ended)

    sink = Scripted(look, look)
    relayed = Relayed(postgres_url, sink, ahead.Gated, page_max=4)
    async with relayed:
        await until(lambda: len(sink.batches) >= 3)
    assert [["1", "2", "3", "4"], ["5", "6", "7", "8"], ["9", "10"]] == sink.batches


@pytest.mark.parametrize("error", [OutcomeUnknown("who knows"), StorageUnavailable("down")])
async def test_a_page_that_is_published_again_goes_before_what_was_fetched_ahead(postgres_url, error):
    await _several(postgres_url)
    sink = Scripted(None, error)
    async with Relayed(postgres_url, sink, page_max=4):
        await until(lambda: "10" in sink.batches[-1] if sink.batches else False)
    again = [["5", "6", "7", "8"]] if isinstance(error, OutcomeUnknown) else []
    assert [["1", "2", "3", "4"], *again, ["5", "6", "7", "8"], ["9", "10"]] == sink.batches


async def test_a_message_that_the_sink_does_not_take_leaves_what_was_fetched_ahead_as_it_is(postgres_url):
    await _several(postgres_url)

    async def only_small(batch):
        if any(message.body == "3" for message in batch):
            raise ValueError("three is too many")

    sink = Scripted(*[only_small] * 9)
    async with Relayed(postgres_url, sink, page_max=4):
        await until(lambda: sink.batches and "10" in sink.batches[-1])
    assert [["1"], ["2"], ["4"], ["5", "6", "7", "8"], ["9", "10"]] == sink.batches
    assert [("dead",)] == query(postgres_url, "SELECT state FROM unsettled")


async def test_a_relay_that_is_cancelled_leaves_no_look_behind(postgres_url):
    await _several(postgres_url)
    sink = Scripted()
    relayed = Relayed(postgres_url, sink, ahead.Gated, page_max=4)
    relayed.source.hold_from = 2
    async with relayed:
        await until(lambda: relayed.source.begun == 2 and sink.batches)
        relayed.task.cancel()
        await asyncio.wait([relayed.task])
        left = [task for task in asyncio.all_tasks() if "Relay." in repr(task.get_coro())]
    assert [] == left


async def test_trouble_of_the_look_ahead_ends_nothing_that_goes_on(postgres_url):
    """The connection of the tail is lost under it: the page before is published once, and the rest after it."""
    await _several(postgres_url)

    async def lose(_batch):
        relayed.store._asker.raw.terminate()
        relayed.source.gate.set()
        await until(lambda: relayed.source.ended > 1)

    sink = Scripted(lose)
    relayed = Relayed(postgres_url, sink, ahead.Gated, page_max=4)
    relayed.source.hold_from = 2
    async with relayed:
        await until(lambda: sink.batches and "10" in sink.batches[-1], 30)
    landed = list(dict.fromkeys(body for batch in sink.batches for body in batch))
    assert [str(n) for n in range(1, 11)] == landed


async def test_an_error_that_nobody_foresaw_ends_the_relay_after_the_page_before(postgres_url):
    await _several(postgres_url)

    class Broken(ahead.Gated):
        async def fetch(self, at, channels, limit):
            pages = await super().fetch(at, channels, limit)
            if self.ended > 1:
                raise ValueError("no such page")
            return pages

    async def slowly(_batch):
        await until(lambda: relayed.source.ended > 1)

    sink = Scripted(slowly)
    relayed = Relayed(postgres_url, sink, Broken, page_max=4)
    async with relayed:
        with pytest.raises(ExceptionGroup) as raised:
            await relayed.task
    assert (["ValueError('no such page')"], 1) == ([repr(each) for each in raised.value.exceptions], len(sink.batches))


def test_only_a_start_or_a_crash_begins_another_life():
    with postgres() as server:
        url = server.url

        def life() -> str:
            return query(url, ahead.LIFE)[0][0]

        first = life()
        query(url, "CHECKPOINT")
        assert first == life()
        ahead.crash(server)
        second = life()
        assert first != second
        server.restart()
        assert second != life()


async def _several(url: str) -> None:
    """A difference of three pages of four."""
    await ahead.made(url)
    await _run(url, ahead.KEYS.format(1, 10))
