"""What survives: a client that closes, an answer that is lost, a connection, a broker; and what must be an alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.errors import EventseamError, OutcomeUnknown, StorageError, StorageUnavailable
from eventseam.ports.transport import Feature, Layout
from eventseam.testing.conformance.scenario import scenario
from eventseam.testing.conformance.scene import in_first_order
from eventseam.testing.conformance.stage import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from eventseam.ports.transport import Received
    from eventseam.testing.conformance.scene import Reader, Scene


@scenario()
async def what_publish_returned_for_is_there_after_close(scene: Scene) -> None:
    """Nothing is left in a buffer of the client."""
    broker, other = await scene.broker(), await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(other, channel)
    sent = scene.messages(channel, 50, 10)
    await scene.publish(broker.sink(), sent)
    await broker.close()
    await reader.until_came(sent)


@scenario()
async def making_a_channel_again_changes_nothing(scene: Scene) -> None:
    """Neither with another number of partitions, nor for what lies in it."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent = scene.messages(channel, 20, 4)
    await scene.publish(broker.sink(), sent)
    made = await broker.layouts([channel])
    for partitions in (scene.slots, scene.slots + 3, 1):
        await scene.again(lambda count=partitions: broker.create({channel: count}))  # type: ignore[misc]
    assert await broker.layouts([channel]) == made, "a channel that was there was changed"
    await reader.until_came(sent)


@scenario()
async def layouts_tell_the_channels_that_are_there(scene: Scene) -> None:
    """Each with its partitions; of one that is not there they say nothing."""
    broker = await scene.broker()
    channels = [await scene.channel(broker) for _ in range(2)]
    found = await broker.layouts([*channels, scene.name("channel")])
    assert sorted(found) == sorted(channels), f"of {channels} and one that nobody made there are {sorted(found)}"
    partitions = {layout.partitions for layout in found.values()}
    assert partitions == {scene.slots}, f"channels of {scene.slots} partitions are said to have {partitions}"
    assert all(isinstance(layout, Layout) for layout in found.values())


@scenario(Fault.LOSE_ANSWER)
async def a_publish_whose_outcome_is_unknown_loses_nothing_when_repeated(scene: Scene) -> None:
    """And if it returns, everything is in."""
    reader, sent = await _publish_ambiguously(scene)
    await reader.until_came(sent)


@scenario(Feature.ORDER, Fault.LOSE_ANSWER)
async def a_publish_whose_outcome_is_unknown_leaves_a_prefix(scene: Scene) -> None:
    """Repeated it leaves repeats in a key's messages, and never one before its turn: a gap nobody could repair."""
    reader, sent = await _publish_ambiguously(scene)
    await reader.until_came(sent)
    wrong = in_first_order(reader, sent)
    assert not wrong, wrong
    invented = set(reader.ids) - {message.envelope.id for message in sent}
    assert not invented, f"{len(invented)} messages came that nobody has published"


async def _publish_ambiguously(scene: Scene) -> tuple[Reader, list[Received]]:
    """Three batches, of which the answer to the second is lost. A reader, and all messages."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent, sink = scene.messages(channel, 120, 5), broker.sink()
    await scene.publish(sink, sent[:40])
    await scene.stage.lose_answer()
    try:
        await scene.within_patience(sink.publish(sent[40:80]), "a publish whose answer was lost")
    except (OutcomeUnknown, StorageUnavailable):
        await scene.publish(sink, sent[40:80])
    await scene.publish(sink, sent[80:])
    return reader, sent


@scenario(Feature.GAPS, Fault.TRIM)
async def messages_trimmed_unread_are_an_error(scene: Scene) -> None:
    """A reader that stands before them is told, and gets nothing from behind the gap."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sink = broker.sink()
    await scene.publish(sink, scene.messages(channel, 40, 40))
    await reader.log.close()
    await scene.stage.trim(channel)
    await scene.publish(sink, scene.messages(channel, 40, 40))
    await _must_alarm(await reader.successor(), "messages were trimmed that it has not read")


@scenario(Feature.GAPS, Fault.TRIM)
async def messages_trimmed_after_they_were_read_are_no_error(scene: Scene) -> None:
    """Retention is not an alarm for those who keep up."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sink, read, sent = broker.sink(), scene.messages(channel, 40, 8), scene.messages(channel, 40, 8)
    await scene.publish(sink, read)
    await reader.until_came(read)
    await reader.keep()
    await reader.log.close()
    await scene.stage.trim(channel)
    await scene.publish(sink, sent)
    successor = await reader.successor()
    await successor.until_came(sent)


@scenario(Feature.GAPS, Fault.RECREATE)
async def a_channel_made_anew_is_an_error(scene: Scene) -> None:
    """Also where the new one is longer than the old one, so that the old position is a position in it."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    read = scene.messages(channel, 40, 40)
    await scene.publish(broker.sink(), read)
    await reader.until_came(read)
    await reader.keep()
    await reader.log.close()
    await scene.stage.recreate(channel)
    other = await scene.broker()
    await scene.publish(other.sink(), scene.messages(channel, 160, 40))
    await _must_alarm(await reader.successor(other), "its channel was deleted and made again")


async def _must_alarm(reader: Reader, what: str) -> None:
    """Raise AssertionError unless a reader is told, by StorageError, that its position is none any more."""
    try:
        await reader.until(lambda: bool(reader.got), lambda: f"{what}, and nothing says so")
    except StorageUnavailable:
        raise
    except StorageError:
        return
    raise AssertionError(f"{what}, and it went on with {len(reader.got)} messages behind that")


@scenario(Fault.CUT)
async def readers_and_publishers_go_on_after_their_connections_broke(scene: Scene) -> None:
    """With nothing but errors that pass."""
    broker, other = await scene.broker(), await scene.broker()
    channel = await scene.channel(broker)
    reader, sink = await scene.reader(broker, channel), other.sink()
    sent = scene.messages(channel, 80, 8)
    await scene.publish(sink, sent[:40])
    await reader.until_came(sent[:40])
    await scene.stage.cut()
    await _go_on(scene.publish(sink, sent[40:]), "publishing")
    await _go_on(reader.until_came(sent), "reading")


@scenario(Feature.SURVIVES, Fault.RESTART)
async def what_was_accepted_outlives_the_broker(scene: Scene) -> None:
    """It is killed the moment that publish has returned; clients go on by themselves."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader, sink = await scene.reader(broker, channel), broker.sink()
    sent = scene.messages(channel, 80, 8)
    await scene.publish(sink, sent[:40])
    await scene.stage.restart()
    await _go_on(reader.until_came(sent[:40]), "reading")
    await _go_on(scene.publish(sink, sent[40:]), "publishing")
    await _go_on(reader.until_came(sent), "reading")


async def _go_on(act: Awaitable[object], what: str) -> None:
    """Await something that only errors which pass may hold up."""
    try:
        await act
    except EventseamError as error:
        raise AssertionError(f"{what} does not go on by itself: {error!r}") from error
