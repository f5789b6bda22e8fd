"""What only a queue with acks can break: what is settled, what is not, and how its positions count."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from eventseam.testing.conformance.scenario import scenario
from eventseam.testing.conformance.scene import again

if TYPE_CHECKING:
    from eventseam.ports.transport import QueueSource
    from eventseam.testing.conformance.scene import Reader, Scene


@scenario(shape="queue")
async def what_is_not_settled_comes_again_and_what_is_settled_does_not(scene: Scene) -> None:
    """Settled is what lies up to a position of its slot, and nothing behind it."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent = scene.messages(channel, 60, 30)
    await scene.publish(broker.sink(), sent)
    await reader.until_came(sent)
    halves = _halves(reader)
    await reader.keep({slot: (position,) for slot, position in halves.items()})
    settled = {each.message.envelope.id for each in reader.got if each.message.position <= halves.get(each.slot, 0)}
    await reader.log.close()
    successor = await reader.successor()
    await successor.until_came([message for message in sent if message.envelope.id not in settled])
    wrong = again(successor, broker, settled)
    assert not wrong, wrong


def _halves(reader: Reader) -> dict[int, int]:
    """Of each slot a position in the middle of what came."""
    positions: dict[int, list[int]] = {}
    for each in reader.got:
        positions.setdefault(each.slot, []).append(each.message.position)
    return {slot: found[len(found) // 2 - 1] for slot, found in positions.items() if len(found) > 1}


@scenario(shape="queue")
async def settling_twice_or_elsewhere_is_harmless(scene: Scene) -> None:
    """The same position again, an older one, and a slot that is not owned any more."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    queue, sink = cast("QueueSource", reader.source), broker.sink()
    first, second = scene.messages(channel, 40, 8), scene.messages(channel, 40, 8)
    await scene.publish(sink, first)
    await reader.until_came(first)
    await reader.keep()
    await reader.keep()
    for slot, (through,) in reader.at.items():
        await queue.settle(slot, max(0, through - 1))
    await scene.publish(sink, second)
    await reader.until_came(second)
    await queue.own(())
    await reader.keep()
    successor = await reader.successor()
    await successor.until_came(second)


@scenario(shape="queue")
async def positions_rise_within_one_owning_of_a_slot(scene: Scene) -> None:
    """Each message has one of its own, above 0, whatever it is of."""
    broker = await scene.broker()
    channels = [await scene.channel(broker) for _ in range(2)]
    reader = await scene.reader(broker, *channels)
    sink = broker.sink()
    for _ in range(3):
        sent = [message for channel in channels for message in scene.messages(channel, 20, 10)]
        await scene.publish(sink, sent)
        await reader.until_came(sent)
        await reader.keep()
    for slot in range(scene.slots):
        positions = [each.message.position for each in reader.got if each.slot == slot]
        assert positions == sorted(set(positions)), f"positions of slot {slot} do not rise: {positions}"
        assert not positions or positions[0] > 0, f"the first position of slot {slot} is {positions[0]}"
