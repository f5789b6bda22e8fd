"""Planted adapters: each is a correct one that does one thing wrong, and must fail the scenarios that are named.

`PLANTS` says which ones, and with which words. A plant is a wrapper around a client of the memory transport, its
sources or its sinks; whatever it does not spoil goes through.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from eventseam.errors import ContractError, OutcomeUnknown, StorageError, StorageUnavailable
from eventseam.ports.transport import Layout
from tests.conformance.memory import MemoryStage

LOG = "kafka"
QUEUE = "rabbit-quorum"


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


# --- the table --------------------------------------------------------------------------------------------------------


class Plant(NamedTuple):
    """What is wrapped, on which profile, and by scenario the words with which it must fail."""

    profile: str
    part: str
    made: type[Wrapped]
    fails: dict[str, str]


def plant(part: str, made: type[Wrapped], profile: str = LOG, **fails: str) -> Plant:
    return Plant(profile, part, made, fails)


PLANTS = (
    plant("sink", Mangling, a_message_comes_whole="causation_id was"),
    plant("sink", Stripping, bodies_come_whole_from_empty_to_the_largest="came otherwise"),
    plant("sink", Silent, a_message_that_is_too_large_costs_no_other="never came"),
    plant("sink", Overwriting, two_clients_publish_at_once="never came"),
    plant("sink", FirstChannelsOnly, a_channel_may_be_made_while_others_are_read="never came"),
    plant(
        "sink",
        AnswersFirst,
        what_publish_returned_for_is_there_after_close="never came",
        what_was_accepted_outlives_the_broker="never came",
    ),
    plant("sink", Hopeful, a_publish_whose_outcome_is_unknown_loses_nothing_when_repeated="never came"),
    plant("sink", WindowRetry, a_publish_whose_outcome_is_unknown_leaves_a_prefix="came in this order"),
    plant("source", Lossy, every_message_that_was_published_comes="never came"),
    plant("source", Reordering, messages_of_a_key_come_in_the_order_of_their_publishing="came in this order"),
    plant("source", Doubling, each_position_of_a_slot_is_one_message_for_ever="messages came at"),
    plant("source", WrongAt, a_reader_goes_on_behind_any_message_of_a_page="behind position"),
    plant("source", Raising, what_is_no_message_comes_with_its_problem="this is junk"),
    plant("source", Tidy, what_is_no_message_comes_with_its_problem="only came"),
    plant("source", Keyed, a_foreign_message_without_a_key_is_alone="no key"),
    plant("source", Torn, a_key_has_one_slot_in_all_channels="several slots"),
    plant("source", Unbounded, a_fetch_gives_no_more_than_its_limit="a fetch of at most"),
    plant("source", Blocking, a_slot_that_is_not_read_holds_up_no_other="never came"),
    plant("source", Greedy, two_owners_share_the_slots="gave a page of slot"),
    plant("source", Competing, two_readers_each_get_everything="never came"),
    plant("source", Rewinding, a_reader_goes_on_where_its_predecessor_had_stored_to_be="came again"),
    plant(
        "source",
        Skipping,
        messages_trimmed_unread_are_an_error="it went on",
        a_channel_made_anew_is_an_error="it went on",
    ),
    plant("source", Alarmist, messages_trimmed_after_they_were_read_are_no_error="somebody has trimmed it"),
    plant("source", Fragile, readers_and_publishers_go_on_after_their_connections_broke="does not go on by itself"),
    plant("source", Stubborn, a_source_may_be_closed_while_it_waits_and_once_more="did not end"),
    plant(
        "source",
        EarlySettling,
        QUEUE,
        what_was_not_stored_comes_to_who_takes_the_slots_over="never came",
        what_is_not_settled_comes_again_and_what_is_settled_does_not="never came",
    ),
    plant("source", NeverAgain, QUEUE, what_was_not_stored_comes_to_who_takes_the_slots_over="never came"),
    plant("source", Sweeping, QUEUE, what_is_not_settled_comes_again_and_what_is_settled_does_not="never came"),
    plant("source", Strict, QUEUE, settling_twice_or_elsewhere_is_harmless="settled twice"),
    plant("source", Restarting, QUEUE, positions_rise_within_one_owning_of_a_slot="do not rise"),
    plant("source", Lockstep, QUEUE, a_message_that_is_not_finished_holds_up_no_other_key="never came"),
    plant("broker", BeginsNow, a_late_reader_gets_what_was_there_before_it="never came"),
    plant("broker", BeginsEarly, a_reader_may_begin_now="were there before"),
    plant("broker", Timeless, a_reader_may_begin_at_a_time="are older"),
    plant("broker", Content, behind_counts_what_lies_behind_a_cursor="are behind the beginning"),
    plant("broker", Remaking, making_a_channel_again_changes_nothing="was changed"),
    plant("broker", Inventive, layouts_tell_the_channels_that_are_there="nobody made"),
)


class Planted(Wrapped):
    """A client whose sources or sinks are a plant's."""

    def __init__(self, inner: Any, shared: list[Any], what: Plant) -> None:
        super().__init__(inner, shared)
        self.what = what

    def source(self, reader, channels, slots):
        source = self.inner.source(reader, channels, slots)
        return self.what.made(source, self.shared, self.inner) if self.what.part == "source" else source

    def sink(self):
        sink = self.inner.sink()
        return self.what.made(sink, self.shared, self.inner) if self.what.part == "sink" else sink


class PlantedStage(MemoryStage):
    """The memory transport with a plant in it."""

    def __init__(self, what: Plant) -> None:
        super().__init__(what.profile)
        self.what = what
        self.shared: list[Any] = []

    async def connect(self) -> Any:
        broker = await super().connect()
        if self.what.part == "broker":
            return self.what.made(broker, self.shared)
        return Planted(broker, self.shared, self.what)

    async def trim(self, channel) -> None:
        await super().trim(channel)
        self.shared.append("trimmed")


@asynccontextmanager
async def planted_stage(what: Plant):
    yield PlantedStage(what)
