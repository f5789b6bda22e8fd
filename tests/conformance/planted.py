"""The table of planted adapters: each must fail the scenarios that are named, with these words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.conformance import plants as of
from tests.conformance.memory import MemoryStage
from tests.conformance.plants import Wrapped

LOG = "kafka"
QUEUE = "rabbit-quorum"


class Plant(NamedTuple):
    """What is wrapped, on which profile, and by scenario the words with which it must fail."""

    profile: str
    part: str
    made: type[Wrapped]
    fails: dict[str, str]


def plant(part: str, made: type[Wrapped], profile: str = LOG, **fails: str) -> Plant:
    return Plant(profile, part, made, fails)


PLANTS = (
    plant("sink", of.Mangling, a_message_comes_whole="causation_id was"),
    plant("sink", of.Stripping, bodies_come_whole_from_empty_to_the_largest="came otherwise"),
    plant("sink", of.Silent, a_message_that_is_too_large_costs_no_other="never came"),
    plant("sink", of.Overwriting, two_clients_publish_at_once="never came"),
    plant("sink", of.FirstChannelsOnly, a_channel_may_be_made_while_others_are_read="never came"),
    plant(
        "sink",
        of.AnswersFirst,
        what_publish_returned_for_is_there_after_close="never came",
        what_was_accepted_outlives_the_broker="never came",
    ),
    plant("sink", of.Hopeful, a_publish_whose_outcome_is_unknown_loses_nothing_when_repeated="never came"),
    plant("sink", of.WindowRetry, a_publish_whose_outcome_is_unknown_leaves_a_prefix="came in this order"),
    plant("source", of.Lossy, every_message_that_was_published_comes="never came"),
    plant("source", of.Reordering, messages_of_a_key_come_in_the_order_of_their_publishing="came in this order"),
    plant("source", of.Doubling, each_position_of_a_slot_is_one_message_for_ever="messages came at"),
    plant("source", of.WrongAt, a_reader_goes_on_behind_any_message_of_a_page="behind position"),
    plant("source", of.Raising, what_is_no_message_comes_with_its_problem="this is junk"),
    plant("source", of.Tidy, what_is_no_message_comes_with_its_problem="only came"),
    plant("source", of.Keyed, a_foreign_message_without_a_key_is_alone="no key"),
    plant("source", of.Torn, a_key_has_one_slot_in_all_channels="several slots"),
    plant("source", of.Unbounded, a_fetch_gives_no_more_than_its_limit="a fetch of at most"),
    plant("source", of.Blocking, a_slot_that_is_not_read_holds_up_no_other="never came"),
    plant("source", of.Greedy, two_owners_share_the_slots="gave a page of slot"),
    plant("source", of.Competing, two_readers_each_get_everything="never came"),
    plant("source", of.Rewinding, a_reader_goes_on_where_its_predecessor_had_stored_to_be="came again"),
    plant(
        "source",
        of.Skipping,
        messages_trimmed_unread_are_an_error="it went on",
        a_channel_made_anew_is_an_error="it went on",
    ),
    plant("source", of.Alarmist, messages_trimmed_after_they_were_read_are_no_error="somebody has trimmed it"),
    plant("source", of.Fragile, readers_and_publishers_go_on_after_their_connections_broke="does not go on by itself"),
    plant("source", of.Stubborn, a_source_may_be_closed_while_it_waits_and_once_more="did not end"),
    plant(
        "source",
        of.EarlySettling,
        QUEUE,
        what_was_not_stored_comes_to_who_takes_the_slots_over="never came",
        what_is_not_settled_comes_again_and_what_is_settled_does_not="never came",
    ),
    plant("source", of.NeverAgain, QUEUE, what_was_not_stored_comes_to_who_takes_the_slots_over="never came"),
    plant("source", of.Sweeping, QUEUE, what_is_not_settled_comes_again_and_what_is_settled_does_not="never came"),
    plant("source", of.Rejoining, QUEUE, slots_that_stay_go_on_when_others_join="came twice to one owner"),
    plant("source", of.Strict, QUEUE, settling_twice_or_elsewhere_is_harmless="settled twice"),
    plant("source", of.Restarting, QUEUE, positions_rise_within_one_owning_of_a_slot="do not rise"),
    plant("source", of.Lockstep, QUEUE, a_message_that_is_not_finished_holds_up_no_other_key="never came"),
    plant("broker", of.BeginsNow, a_late_reader_gets_what_was_there_before_it="never came"),
    plant("broker", of.BeginsEarly, a_reader_may_begin_now="were there before"),
    plant("broker", of.Timeless, a_reader_may_begin_at_a_time="are older"),
    plant("broker", of.Content, behind_counts_what_lies_behind_a_cursor="are behind the beginning"),
    plant("broker", of.Remaking, making_a_channel_again_changes_nothing="was changed"),
    plant("broker", of.Inventive, layouts_tell_the_channels_that_are_there="nobody made"),
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
