"""Where a reader begins, goes on, shares its slots and waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventseam.ports.transport import Feature, Page
from eventseam.testing.conformance.scenario import scenario
from eventseam.testing.conformance.scene import again

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.ports.transport import Received
    from eventseam.testing.conformance.scene import Scene

_LIMIT = 7


@scenario()
async def a_reader_goes_on_where_its_predecessor_had_stored_to_be(scene: Scene) -> None:
    """Of a reader that closes after half of it, a successor gets exactly the rest."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sink = broker.sink()
    first, second = scene.messages(channel, 40, 8), scene.messages(channel, 40, 8)
    await scene.publish(sink, first)
    await reader.until_came(first)
    await reader.keep()
    await scene.publish(sink, second)
    await reader.until_came(second)
    await reader.log.close()
    successor = await reader.successor()
    await successor.until_came(second)
    wrong = again(successor, broker, ids(first))
    assert not wrong, wrong


@scenario()
async def what_was_not_stored_comes_to_who_takes_the_slots_over(scene: Scene) -> None:
    """While the first owner, who gave them up, still lives."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent = scene.messages(channel, 60, 12)
    await scene.publish(broker.sink(), sent)
    await reader.until_came(sent)
    await reader.log.own(())
    successor = await reader.successor()
    await successor.until_came(sent)


@scenario(Feature.BLOCKS)
async def two_owners_share_the_slots(scene: Scene) -> None:
    """Each gets what is in its own slots; between them they get everything, and nothing twice."""
    broker, other = await scene.broker(), await scene.broker()
    channel = await scene.channel(broker)
    half = scene.slots // 2
    one = await scene.reader(broker, channel, slots=range(half))
    two = scene.source_of(other, one.name, [channel])
    await two.start(one.begun, range(half, scene.slots))
    sent = scene.messages(channel, 200, 50)
    await scene.publish(broker.sink(), sent)
    await scene.until_all_came((one, two), sent)
    twice = set(one.ids) & set(two.ids)
    assert not twice, f"{len(twice)} messages came to both owners"


@scenario(Feature.BLOCKS, Feature.ORDER)
async def slots_that_stay_go_on_when_others_join(scene: Scene) -> None:
    """What is under way in them does not come again, although nothing of it is stored."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel, slots=range(scene.slots // 2))
    sent = scene.messages(channel, 200, 50)
    sink = broker.sink()
    await scene.publish(sink, sent[:100])
    await reader.until(lambda: len(reader.got) > 0, lambda: "nothing came in the first half of the slots")
    await reader.own_more(range(scene.slots))
    await scene.publish(sink, sent[100:])
    await reader.until_came(sent)
    twice = len(reader.ids) - len(set(reader.ids))
    assert not twice, f"{twice} messages came twice to one owner"


@scenario()
async def two_readers_each_get_everything(scene: Scene) -> None:
    """Readers of different names know nothing of each other."""
    broker, other = await scene.broker(), await scene.broker()
    channel = await scene.channel(broker)
    readers = [await scene.reader(broker, channel), await scene.reader(other, channel)]
    sent = scene.messages(channel, 60, 12)
    await scene.publish(broker.sink(), sent)
    for reader in readers:
        await reader.until_came(sent)
        await reader.keep()


@scenario(Feature.REPLAY)
async def a_reader_goes_on_behind_any_message_of_a_page(scene: Scene) -> None:
    """`Page.at` of a message is a cursor: from there come the messages behind it, and no other."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sink, pages = broker.sink(), list[Page]()
    for _ in range(2):  # what is behind a message lies in its own page and in later ones
        sent = scene.messages(channel, 24, 4)
        await scene.publish(sink, sent)
        pages += await reader.until_came(sent)
    page = max(pages, key=lambda each: len(each.messages))
    came = [each.message.envelope.id for each in reader.got if each.slot == page.slot]
    for message in page.messages:
        behind = came[came.index(message.envelope.id) + 1 :]
        successor = scene.source_of(broker, scene.name("reader"), [channel])
        await successor.start(reader.begun | {page.slot: page.at(message.position)}, [page.slot])
        await successor.until(
            lambda: len(successor.got) >= len(behind),  # noqa: B023 - awaited here
            lambda: f"behind position {message.position} came {len(successor.got)} of {len(behind)} messages",  # noqa: B023
        )
        await successor.fetch()
        assert successor.ids == behind, f"behind position {message.position} came other messages than the first time"
        await successor.log.close()


@scenario(Feature.REPLAY)
async def each_position_of_a_slot_is_one_message_for_ever(scene: Scene) -> None:
    """Also of several channels that are read together, and also after a restart of the reader."""
    broker = await scene.broker()
    channels = [await scene.channel(broker) for _ in range(2)]
    reader = await scene.reader(broker, *channels)
    sent = [message for channel in channels for message in scene.messages(channel, 60, 12)]
    await scene.publish(broker.sink(), sent)
    await reader.until_came(sent)
    places = {(each.slot, each.message.position): each.message.envelope.id for each in reader.got}
    assert len(places) == len(sent), f"{len(sent)} messages came at {len(places)} positions"
    await reader.log.close()
    successor = scene.source_of(await scene.broker(), scene.name("reader"), channels)
    await successor.start(reader.begun)
    await successor.until_came(sent)
    again = {(each.slot, each.message.position): each.message.envelope.id for each in successor.got}
    assert again == places, "messages came at other positions than before"


@scenario(Feature.LATE)
async def a_late_reader_gets_what_was_there_before_it(scene: Scene) -> None:
    """It begins at the beginning."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    sent = scene.messages(channel, 40, 8)
    await scene.publish(broker.sink(), sent)
    reader = await scene.reader(broker, channel, starts="beginning")
    await reader.until_came(sent)


@scenario()
async def a_reader_may_begin_now(scene: Scene) -> None:
    """It gets what is published after `begin` has returned, and nothing that was there before."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    before, after = scene.messages(channel, 40, 8), scene.messages(channel, 40, 8)
    await scene.publish(broker.sink(), before)
    name = scene.name("reader")
    begun = await scene.again(lambda: broker.begin(name, [channel], scene.slots, "now"))
    await scene.publish(broker.sink(), after)
    reader = scene.source_of(broker, name, [channel])
    await reader.start(begun)
    await reader.until_came(after)
    early = set(reader.ids) & ids(before)
    assert not early, f"{len(early)} messages came that were there before the reader began"


@scenario(Feature.TIMES)
async def a_reader_may_begin_at_a_time(scene: Scene) -> None:
    """It gets what is of that time or later, and nothing older; also of a time behind everything."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    before = scene.messages(channel, 40, 8)
    await scene.publish(broker.sink(), before)
    await scene.later()
    time = scene.now()
    await scene.later()
    after = scene.messages(channel, 40, 8)
    await scene.publish(broker.sink(), after)
    reader = await scene.reader(broker, channel, starts=time)
    await reader.until_came(after)
    early = set(reader.ids) & ids(before)
    assert not early, f"{len(early)} messages came that are older than where the reader began"
    await scene.later()
    last = await scene.reader(broker, channel, starts=scene.now())
    end = scene.messages(channel, 8, 8)
    await scene.publish(broker.sink(), end)
    await last.until_came(end)
    assert not set(last.ids) - ids(end), "a reader that begins behind everything got what was there before"


@scenario(Feature.REPLAY)
async def behind_counts_what_lies_behind_a_cursor(scene: Scene) -> None:
    """All of it at the beginning, nothing at the end."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent = scene.messages(channel, 40, 8)
    await scene.publish(broker.sink(), sent)
    await reader.until_came(sent)
    at_first = await scene.again(lambda: broker.behind(reader.begun))
    assert sum(at_first.values()) == len(sent), f"of {len(sent)} messages {dict(at_first)} are behind the beginning"
    at_last = await scene.again(lambda: broker.behind(reader.at))
    assert not any(at_last.values()), f"{dict(at_last)} are behind the end"


@scenario()
async def a_fetch_gives_no_more_than_its_limit(scene: Scene) -> None:
    """Of all slots together, whatever lies there: not reading is how an engine holds a broker back."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent = scene.messages(channel, 100, 20)
    await scene.publish(broker.sink(), sent)

    reader.limit = _LIMIT
    await reader.until_came(sent)


@scenario(Feature.BLOCKS)
async def a_slot_that_is_not_read_holds_up_no_other(scene: Scene) -> None:
    """A slot without room is owned and not named; whatever is ready in it, the others go on."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sink, probes = broker.sink(), scene.messages(channel, 64, 64)
    await scene.publish(sink, probes)
    await reader.until_came(probes)
    slots = {each.message.envelope.key: each.slot for each in reader.got}
    full = slots[probes[0].envelope.key]
    sent = scene.messages(channel, 1_000, 64)
    await scene.publish(sink, sent)
    others = [message for message in sent if slots[message.envelope.key] != full]
    assert others, f"64 keys lie in one slot of {scene.slots}"
    await reader.until_came(others, set(slots.values()) - {full})
    await reader.until_came(sent)


@scenario()
async def a_message_that_is_not_finished_holds_up_no_other_key(scene: Scene) -> None:
    """A hundred keys, of which nothing is stored as finished, all come."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sink, sent = broker.sink(), scene.messages(channel, 100, 100)
    for begin in range(0, 100, 20):
        await scene.publish(sink, sent[begin : begin + 20])
        await reader.until_came(sent[: begin + 20])


@scenario()
async def a_source_may_be_closed_while_it_waits_and_once_more(scene: Scene) -> None:
    """The wait ends; closing is idempotent, of sources and of clients."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    await reader.fetch()

    async def close() -> None:
        await asyncio.sleep(0)
        await reader.log.close()

    waiting = reader.log.wait(10 * scene.patience_seconds)
    await asyncio.gather(scene.within_patience(waiting, "a wait whose source was closed"), close())
    await reader.log.close()
    await broker.close()
    await broker.close()


@scenario()
async def a_channel_may_be_made_while_others_are_read(scene: Scene) -> None:
    """A sink that has published before publishes to it, a new reader reads it, and those that run go on."""
    broker = await scene.broker()
    first = await scene.channel(broker)
    running, sink = await scene.reader(broker, first), broker.sink()
    sent = scene.messages(first, 20, 4)
    await scene.publish(sink, sent)
    await running.until_came(sent)
    second = await scene.channel(broker)
    reader = await scene.reader(broker, second)
    both = [message for channel in (first, second) for message in scene.messages(channel, 20, 4)]
    await scene.publish(sink, both)
    await reader.until_came(both[20:])
    await running.until_came(both[:20])


def ids(messages: Sequence[Received]) -> set[str]:
    """Their ids."""
    return {message.envelope.id for message in messages}
