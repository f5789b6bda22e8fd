"""Planted adapters: each is a correct one that does one thing wrong. `planted.PLANTS` says what each must fail.

A plant is a wrapper around a client of the memory transport, a source or a sink of it; what it does not spoil goes
through.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from eventseam.errors import ContractError, OutcomeUnknown, StorageError, StorageUnavailable
from eventseam.ports.transport import Layout


class Wrapped:
    """What it wraps, but for what a plant spoils. `shared` is one list for all of a stage's clients."""

    def __init__(self, inner: Any, shared: list[Any], broker: Any = None) -> None:
        self.inner = inner
        self.shared = shared
        self.broker = broker or inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


# --- sinks ------------------------------------------------------------------------------------------------------------


class Mangling(Wrapped):
    """Forgets what caused a message."""

    async def publish(self, batch) -> None:
        envelopes = [msgspec.structs.replace(each.envelope, causation_id=None) for each in batch]
        pairs = zip(batch, envelopes, strict=True)
        await self.inner.publish([msgspec.structs.replace(each, envelope=envelope) for each, envelope in pairs])


class Stripping(Wrapped):
    """Takes a body for a text, whose ends are blank."""

    async def publish(self, batch) -> None:
        await self.inner.publish([msgspec.structs.replace(each, body=each.body.strip()) for each in batch])


class Silent(Wrapped):
    """Says nothing of a batch that is refused."""

    async def publish(self, batch) -> None:
        try:
            await self.inner.publish(batch)
        except ContractError:
            return


class Overwriting(Wrapped):
    """Loses what is published while another client publishes."""

    async def publish(self, batch) -> None:
        if self.shared:
            return
        self.shared.append(self)
        try:
            await self.inner.publish(batch)
        finally:
            self.shared.clear()


class FirstChannelsOnly(Wrapped):
    """Knows the channels that it published to first, and no others."""

    known: frozenset[str] = frozenset()

    async def publish(self, batch) -> None:
        self.known = self.known or frozenset(each.envelope.channel for each in batch)
        await self.inner.publish([each for each in batch if each.envelope.channel in self.known])


class AnswersFirst(Wrapped):
    """Returns before its batch is accepted: it goes with the next one."""

    held = ()

    async def publish(self, batch) -> None:
        held, self.held = self.held, batch
        await self.inner.publish(held)


class Hopeful(Wrapped):
    """Takes an unknown outcome for a good one."""

    async def publish(self, batch) -> None:
        try:
            await self.inner.publish(batch)
        except OutcomeUnknown:
            return


class WindowRetry(Wrapped):
    """Has a window under way: its end lands after a reconnect, and then the window is sent again."""

    async def publish(self, batch) -> None:
        try:
            await self.inner.publish(batch)
        except OutcomeUnknown:
            await self.inner.publish(batch[len(batch) * 2 // 3 :])
            await self.inner.publish(batch)


# --- sources ----------------------------------------------------------------------------------------------------------


class Bent(Wrapped):
    """A log's source, whose pages are spoilt one by one."""

    async def fetch(self, at, channels, limit):
        return [self.bend(page) for page in await self.inner.fetch(at, channels, limit)]


class Lossy(Bent):
    """Drops every tenth message."""

    def bend(self, page):
        return page._replace(messages=[each for each in page.messages if each.position % 10 != 3])


class Reordering(Bent):
    """Gives a page from its end."""

    def bend(self, page):
        return page._replace(messages=page.messages[::-1])


class Doubling(Bent):
    """Gives two messages one position."""

    def bend(self, page):
        halved = [msgspec.structs.replace(each, position=each.position // 2) for each in page.messages]
        return page._replace(messages=halved)


class WrongAt(Bent):
    """Its cursor of a message is that of its page."""

    def bend(self, page):
        return page._replace(at=lambda _: page.end)


class Raising(Bent):
    """Breaks at junk."""

    def bend(self, page):
        if any(each.problem for each in page.messages):
            raise ValueError("this is junk")
        return page


class Tidy(Bent):
    """Leaves junk out."""

    def bend(self, page):
        return page._replace(messages=[each for each in page.messages if not each.problem])


class Keyed(Bent):
    """Takes a message without a key for junk."""

    def bend(self, page):
        keyed = [
            each if each.envelope.key != each.envelope.id else msgspec.structs.replace(each, problem="no key")
            for each in page.messages
        ]
        return page._replace(messages=keyed)


class Torn(Wrapped):
    """Puts messages into other slots, every second time."""

    count = 0

    async def fetch(self, at, channels, limit):
        pages = await self.inner.fetch(at, channels, limit)
        self.count += 1
        if self.count % 2 or len(pages) < 2:
            return pages
        return [page._replace(messages=pages[index - 1].messages) for index, page in enumerate(pages)]


class Unbounded(Wrapped):
    """Gives all there is."""

    async def fetch(self, at, channels, limit):
        return await self.inner.fetch(at, channels, 100 * limit)


class Blocking(Wrapped):
    """Waits with all slots for the one that has no room."""

    owned = 0

    async def own(self, slots):
        self.owned = len(slots)
        await self.inner.own(slots)

    async def fetch(self, at, channels, limit):
        return await self.inner.fetch(at, channels, limit) if len(at) == self.owned else []


class Greedy(Wrapped):
    """Reads every slot, whoever owns it."""

    async def fetch(self, at, channels, limit):
        every = [slot for slot in range(self.inner.slots) if slot not in at]
        begun = await self.broker.begin("greedy", channels, self.inner.slots, "beginning")
        return await self.inner.fetch({**at, **{slot: begun[slot] for slot in every}}, channels, limit)


class Competing(Wrapped):
    """Gives each message to whichever reader comes first."""

    async def fetch(self, at, channels, limit):
        pages = await self.inner.fetch(at, channels, limit)
        left = [page._replace(messages=[each for each in page.messages if self.is_mine(each)]) for page in pages]
        self.shared += [(each.envelope.id, self) for page in left for each in page.messages]
        return left

    def is_mine(self, message) -> bool:
        return all(message.envelope.id != taken or who is self for taken, who in self.shared)


class Rewinding(Wrapped):
    """Begins at the beginning, whatever was stored."""

    begun: frozenset[int] = frozenset()

    async def fetch(self, at, channels, limit):
        first = await self.broker.begin("rewinding", channels, self.inner.slots, "beginning")
        asked = {slot: cursor if slot in self.begun else first[slot] for slot, cursor in at.items()}
        self.begun |= asked.keys()
        return await self.inner.fetch(asked, channels, limit)


class Skipping(Wrapped):
    """Goes on behind a gap, or in a log that was made anew, as if nothing had happened."""

    async def fetch(self, at, channels, limit):
        try:
            return await self.inner.fetch(at, channels, limit)
        except StorageUnavailable:
            raise
        except StorageError:
            first = await self.broker.begin("skipping", channels, self.inner.slots, "beginning")
            return await self.inner.fetch({slot: first[slot] for slot in at}, channels, limit)


class Alarmist(Wrapped):
    """Takes every trim for a loss."""

    async def fetch(self, at, channels, limit):
        if "trimmed" in self.shared:
            raise StorageError("somebody has trimmed it")
        return await self.inner.fetch(at, channels, limit)


class Fragile(Wrapped):
    """Is beyond repair once its connection broke."""

    async def fetch(self, at, channels, limit):
        try:
            return await self.inner.fetch(at, channels, limit)
        except StorageUnavailable:
            raise StorageError("the connection is gone: start again") from None


class Stubborn(Wrapped):
    """Waits to the end, whatever happens."""

    async def wait(self, timeout_seconds: float) -> None:
        await asyncio.sleep(timeout_seconds)


# --- queues -----------------------------------------------------------------------------------------------------------


class EarlySettling(Wrapped):
    """Acknowledges what it gives, as automatic acknowledgement does."""

    async def fetch(self, slots, limit):
        found = await self.inner.fetch(slots, limit)
        for slot, messages in found.items():
            if messages:
                await self.inner.settle(slot, messages[-1].position)
        return found


class NeverAgain(Wrapped):
    """Throws away what is not settled when slots are given up."""

    last: dict[int, int]

    async def fetch(self, slots, limit):
        found = await self.inner.fetch(slots, limit)
        self.last = getattr(self, "last", {}) | {slot: each[-1].position for slot, each in found.items() if each}
        return found

    async def own(self, slots) -> None:
        for slot, through in self.__dict__.get("last", {}).items():
            await self.inner.settle(slot, through)
        await self.inner.own(slots)


class Sweeping(NeverAgain):
    """Acknowledges everything that it gave, whatever position it is told."""

    async def own(self, slots) -> None:
        await self.inner.own(slots)

    async def settle(self, slot, through) -> None:
        await self.inner.settle(slot, self.last.get(slot, through))


class Rejoining(Wrapped):
    """Gives everything up before it takes what is its own."""

    async def own(self, slots) -> None:
        await self.inner.own(())
        await self.inner.own(slots)


class Strict(Wrapped):
    """Does not bear to be told twice."""

    told: frozenset[tuple[int, int]] = frozenset()

    async def settle(self, slot, through) -> None:
        if (slot, through) in self.told:
            raise ValueError("settled twice")
        self.told |= {(slot, through)}
        await self.inner.settle(slot, through)


class Restarting(Wrapped):
    """Counts each fetch from one."""

    async def fetch(self, slots, limit):
        found = await self.inner.fetch(slots, limit)
        return {
            slot: [msgspec.structs.replace(each, position=number) for number, each in enumerate(messages, 1)]
            for slot, messages in found.items()
        }


class Lockstep(Wrapped):
    """Gives nothing until everything before is settled."""

    under_way = False

    async def fetch(self, slots, limit):
        if self.under_way:
            return {}
        found = await self.inner.fetch(slots, limit)
        self.under_way = any(found.values())
        return found

    async def settle(self, slot, through) -> None:
        self.under_way = False
        await self.inner.settle(slot, through)


# --- brokers ----------------------------------------------------------------------------------------------------------


class BeginsNow(Wrapped):
    """Begins now, whatever it is asked."""

    async def begin(self, reader, channels, slots, _starts):
        return await self.inner.begin(reader, channels, slots, "now")


class BeginsEarly(Wrapped):
    """Begins at the beginning, whatever it is asked."""

    async def begin(self, reader, channels, slots, _starts):
        return await self.inner.begin(reader, channels, slots, "beginning")


class Timeless(Wrapped):
    """Begins at the beginning where it is asked for a time."""

    async def begin(self, reader, channels, slots, starts):
        return await self.inner.begin(reader, channels, slots, "beginning" if isinstance(starts, datetime) else starts)


class Content(Wrapped):
    """Is never behind."""

    async def behind(self, at):
        return dict.fromkeys(at, 0)


class Remaking(Wrapped):
    """Makes channels, also where there are some."""

    async def create(self, wanted) -> None:
        for channel in await self.inner.layouts(wanted):
            self.inner.server.recreate(channel)
        await self.inner.create(wanted)


class Inventive(Wrapped):
    """Sees channels that nobody made."""

    async def layouts(self, channels):
        return {**dict.fromkeys(channels, Layout(4)), **await self.inner.layouts(channels)}
