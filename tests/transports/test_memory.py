"""The memory transport: what each profile keeps, orders, repeats and loses, as the broker does that it imitates."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from eventseam import Envelope, Seams
from eventseam.errors import OutcomeUnknown, SettingsError, StorageError, StorageUnavailable, TooLarge
from eventseam.ports.transport import Feature, Received
from eventseam.transports.memory import PROFILES, MemoryServer, connect

LOGS = [name for name, profile in PROFILES.items() if profile.shape == "log"]
QUEUES = [name for name, profile in PROFILES.items() if profile.shape == "queue"]
ORDERED = [name for name, profile in PROFILES.items() if Feature.ORDER in profile.capabilities.features]
LOOSE = ["sqs-standard", "eventbridge"]
SLOTS = 4


class HandClock:
    """A clock that a test moves."""

    def __init__(self):
        self.seconds = 1_000.0

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.seconds += seconds


class Place:
    """A server, one client, and how far it has read."""

    def __init__(self, profile, seed=1):
        self.clock = HandClock()
        self.server = MemoryServer(profile, Seams(clock=self.clock, random=random.Random(seed)), SLOTS)
        self.client = connect(self.server)
        self.at = {}

    async def start(self, *channels, starts="beginning"):
        """A source of all slots."""
        await self.client.open()
        self.at = dict(await self.client.begin("reader", channels, SLOTS, starts))
        return await self.another(*channels)

    async def another(self, *channels, client=None):
        source = (client or self.client).source("reader", channels, SLOTS)
        await source.own(range(SLOTS))
        return source

    async def publish(self, *messages, client=None):
        await (client or self.client).sink().publish(messages)

    async def read(self, source, *channels, limit=400):
        """What comes now."""
        if source.shape == "queue":
            found = await source.fetch(range(SLOTS), limit)
            return [message for slot in found for message in found[slot]]
        pages = await source.fetch(self.at, channels, limit)
        for page in pages:
            self.at[page.slot] = page.end
        return [message for page in pages for message in page.messages]

    async def read_all(self, source, *channels):
        """What comes until nothing does."""
        came = []
        while found := await self.read(source, *channels):
            came += found
        return came


def message(key, n=0, channel="talk", body=None, message_id=None):
    envelope = Envelope(
        id=message_id or f"{key}-{n}",
        type="talk.said",
        source="test",
        channel=channel,
        key=key,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        correlation_id="c",
    )
    return Received(0, envelope, msgspec.json.encode({"n": n}) if body is None else body)


def ids(came):
    return [each.envelope.id for each in came]


# ---------------------------------------------------------------- all profiles


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_message_goes_over_the_wire_and_comes_equal(profile):
    place, sent = Place(profile), message("ann", 1)
    source = await place.start("talk")
    await place.publish(sent)
    (came,) = await place.read(source, "talk")
    assert (sent.envelope, sent.body, None) == (came.envelope, came.body, came.problem)
    assert came.envelope is not sent.envelope


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_body_that_the_broker_would_not_take_is_refused_with_its_whole_batch(profile):
    place = Place(profile)
    source = await place.start("talk")
    large = b'"%s"' % (b"x" * (PROFILES[profile].capabilities.body_bytes_max - 1))
    with pytest.raises(TooLarge, match=rf"ann-0 on talk.*{profile}"):
        await place.publish(message("bob"), message("ann", body=large))
    assert [] == await place.read(source, "talk")


@pytest.mark.parametrize("profile", ORDERED)
async def test_messages_of_a_key_keep_their_order(profile):
    place = Place(profile)
    source = await place.start("talk")
    await place.publish(*(message(f"key-{n % 7}", n) for n in range(100)))
    came = await place.read_all(source, "talk")
    assert 100 == len(came)
    for key in {each.envelope.key for each in came}:
        numbers = [msgspec.json.decode(each.body)["n"] for each in came if each.envelope.key == key]
        assert sorted(numbers) == numbers


@pytest.mark.parametrize("profile", LOOSE)
async def test_without_order_messages_are_shuffled_and_some_come_twice(profile):
    place = Place(profile)
    source = await place.start("talk")
    sent = [message("ann", n) for n in range(300)]
    await place.publish(*sent)
    came = ids(await place.read_all(source, "talk"))
    assert set(ids(sent)) == set(came)
    assert list(dict.fromkeys(came)) != ids(sent)
    assert 300 < len(came) < 320


@pytest.mark.parametrize("profile", LOOSE)
async def test_one_seed_gives_one_run(profile):
    runs = []
    for seed in (1, 1, 2):
        place = Place(profile, seed)
        source = await place.start("talk")
        await place.publish(*(message("ann", n) for n in range(100)))
        runs.append(ids(await place.read_all(source, "talk")))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("profile", PROFILES)
async def test_of_a_lost_answer_a_prefix_has_landed(profile):
    place = Place(profile)
    source = await place.start("talk")
    place.server.lose_answer(after=2)
    with pytest.raises(OutcomeUnknown):
        await place.publish(*(message("ann", n) for n in range(5)))
    assert ["ann-0", "ann-1"] == sorted(ids(await place.read(source, "talk")))
    await place.publish(message("ann", 5))


@pytest.mark.parametrize("profile", PROFILES)
async def test_of_a_refused_batch_nothing_has_landed(profile):
    place = Place(profile)
    source = await place.start("talk")
    place.server.refuse(times=2)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await place.publish(message("ann"))
    assert [] == await place.read(source, "talk")
    await place.publish(message("ann"))
    assert ["ann-0"] == ids(await place.read(source, "talk"))


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_cut_breaks_the_next_call_of_each_client_and_no_other(profile):
    place, other = Place(profile), None
    await place.start("talk")
    other = connect(place.server)
    await other.open()
    place.server.cut()
    for client in (place.client, other):
        with pytest.raises(StorageUnavailable, match="connects again"):
            await place.publish(message("ann"), client=client)
        await place.publish(message("ann"), client=client)


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_restart_loses_messages_unless_the_profile_says_that_they_survive(profile):
    place = Place(profile)
    source = await place.start("talk")
    await place.publish(message("ann"))
    place.server.restart()
    with pytest.raises(StorageUnavailable):
        await place.read(source, "talk")
    if Feature.SURVIVES in place.client.capabilities.features:
        assert ["ann-0"] == ids(await place.read(source, "talk"))
    else:
        with pytest.raises(StorageError, match=r"channel talk, partition \d, .*made again"):
            await place.read(source, "talk")


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_foreign_message_of_any_bytes_comes_with_its_problem(profile):
    place = Place(profile)
    source = await place.start("talk")
    place.server.inject("talk", b"\xff", [("x", b"\xfe")], b"\0raw")
    place.server.inject("talk", None, [], b"{}")
    came = await place.read(source, "talk")
    assert {b"\0raw", b"{}"} == {each.body for each in came}
    assert {b"\0raw": False, b"{}": True} == {each.body: each.problem is None for each in came}
    assert "plain:talk" == next(each.envelope.type for each in came if each.problem is None)
    assert 2 == len(set(ids(came)))


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_channel_of_another_width_is_refused_with_the_fix(profile):
    place = Place(profile)
    await place.client.open()
    await place.client.create({"talk": SLOTS + 1})
    with pytest.raises(StorageError, match=r"talk has 5 partitions and reader reads 4.*topology"):
        await place.another("talk")


async def test_a_key_has_the_same_partition_in_every_run():
    place = Place("kafka")
    await place.start("talk")
    await place.publish(*(message(f"key-{n}") for n in range(6)))
    source = await place.another("talk")
    pages = await source.fetch(place.at, ["talk"], 100)
    found = {each.envelope.key: page.slot for page in pages for each in page.messages}
    assert [3, 3, 2, 1, 0, 0] == [found[f"key-{n}"] for n in range(6)]
    assert [3, 3, 2, 1, 0, 0] == [place.client.slot_of(f"key-{n}", SLOTS) for n in range(6)]


async def test_a_client_that_is_not_open_says_so():
    with pytest.raises(StorageUnavailable, match=r"open\(\)"):
        await connect(MemoryServer("kafka", Seams())).layouts(["talk"])


async def test_a_profile_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(SettingsError, match=r"'kafak'.*kafka, jetstream"):
        MemoryServer("kafak", Seams())


async def test_waiting_ends_with_a_message_and_with_a_close():
    place = Place("kafka")
    source = await place.start("talk")
    await place.read(source, "talk")
    await place.publish(message("ann"))
    await source.wait(60)
    await place.read(source, "talk")
    await source.close()
    await source.wait(60)


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize("profile, first", [("kafka", 0), ("jetstream", 1), ("redis-streams", 1)])
async def test_a_partition_begins_at_the_offset_of_the_broker_that_it_imitates(profile, first):
    place = Place(profile)
    await place.start("talk")
    assert [first] * SLOTS == [cursor[0][2] for cursor in place.at.values()]


@pytest.mark.parametrize("profile", LOGS)
async def test_a_reader_goes_on_at_any_cursor_of_a_page_even_if_it_was_stored_as_json(profile):
    place = Place(profile)
    source = await place.start("talk")
    await place.publish(*(message("ann", n) for n in range(10)))
    (page,) = await source.fetch(place.at, ["talk"], 100)
    stored = msgspec.json.encode(page.at(page.messages[3].position))
    place.at = {page.slot: tuple(map(tuple, msgspec.json.decode(stored)))}
    assert [f"ann-{n}" for n in range(4, 10)] == ids(await place.read(await place.another("talk"), "talk"))


@pytest.mark.parametrize("profile", LOGS)
async def test_a_slot_of_two_channels_has_pages_that_follow_each_other_and_only_the_last_one_is_whole(profile):
    place = Place(profile)
    source = await place.start("echo", "talk")
    await place.publish(message("ann"), message("ann", channel="echo"))
    first, second = await source.fetch(place.at, ["echo", "talk"], 100)
    assert {"echo", "talk"} == {page.messages[0].envelope.channel for page in (first, second)}
    assert (False, True) == (first.is_whole, second.is_whole)
    (part,) = await source.fetch({first.slot: place.at[first.slot]}, ["echo", "talk"], 1)
    assert not part.is_whole
    assert [] == await source.fetch({first.slot: second.end}, ["echo", "talk"], 100)
    (again,) = await source.fetch({first.slot: first.end}, ["echo", "talk"], 100)
    assert (second.messages, second.end) == (again.messages, again.end)


@pytest.mark.parametrize("profile", LOGS)
async def test_a_channel_that_is_new_to_a_cursor_begins_at_its_oldest_message_and_moves_no_other(profile):
    place = Place(profile)
    await place.start("talk")
    await place.publish(message("ann"), message("ann", 1, channel="echo"))
    source = await place.another("echo", "talk")
    before = {each.envelope.channel: each for each in await place.read(source, "echo", "talk")}
    assert {"echo", "talk"} == set(before)
    assert (0, 1) == (before["talk"].position >> 48, before["echo"].position >> 48)
    assert all(["talk", "echo"] == [one[0] for one in cursor] for cursor in place.at.values())


@pytest.mark.parametrize("profile", LOGS)
async def test_a_channel_that_is_new_and_empty_is_in_the_cursor_before_it_can_be_made_again(profile):
    place = Place(profile)
    source = await place.start("talk")
    await place.client.create({"echo": SLOTS})
    assert [] == await place.read(source, "echo", "talk")
    place.server.recreate("echo")
    with pytest.raises(StorageError, match="echo"):
        await place.read(source, "echo", "talk")


@pytest.mark.parametrize("profile", LOGS)
async def test_a_busy_channel_does_not_starve_another_one_of_the_slot(profile):
    place = Place(profile)
    source = await place.start("echo", "talk")
    await place.publish(*(message("ann", n, channel="echo") for n in range(50)), message("ann"))
    came = [each for _ in range(2 * SLOTS) for each in await place.read(source, "echo", "talk", limit=SLOTS)]
    assert "talk" in {each.envelope.channel for each in came}


@pytest.mark.parametrize("profile", LOGS)
async def test_a_reader_begins_at_the_beginning_now_or_at_a_time(profile):
    place = Place(profile)
    await place.start("talk")
    await place.publish(message("ann", 0))
    place.clock.seconds += 60
    since = place.clock.now()
    await place.publish(message("ann", 1))
    for starts, wanted in (("beginning", ["ann-0", "ann-1"]), (since, ["ann-1"]), ("now", [])):
        source = await place.start("talk", starts=starts)
        assert wanted == ids(await place.read(source, "talk"))


@pytest.mark.parametrize("profile", LOGS)
async def test_a_reader_that_begins_at_a_time_misses_nothing_of_a_clock_that_went_back(profile):
    place = Place(profile)
    await place.start("talk")
    await place.publish(message("ann", 0))
    noon = place.clock.now()
    place.clock.seconds -= 3_600
    await place.publish(message("ann", 1))
    source = await place.start("talk", starts=noon)
    assert ["ann-0", "ann-1"] == ids(await place.read(source, "talk"))


@pytest.mark.parametrize("profile", LOGS)
@pytest.mark.parametrize("lose, what", [("trim", "was trimmed"), ("recreate", "was deleted and made again")])
async def test_what_was_lost_unread_is_an_error_with_place_and_fix(profile, lose, what):
    place = Place(profile)
    source = await place.start("talk")
    await place.publish(message("ann"))
    getattr(place.server, lose)("talk")
    with pytest.raises(StorageError, match=rf"channel talk, partition \d, {what}.*accept-gap") as caught:
        await place.read(source, "talk")
    assert not isinstance(caught.value, StorageUnavailable)


@pytest.mark.parametrize("profile", LOGS)
async def test_trimming_what_was_read_is_no_error(profile):
    place = Place(profile)
    source = await place.start("talk")
    await place.publish(message("ann", 0))
    await place.read(source, "talk")
    place.server.trim("talk")
    await place.publish(message("ann", 1))
    assert ["ann-1"] == ids(await place.read(source, "talk"))


@pytest.mark.parametrize("profile", LOGS)
async def test_the_lag_is_what_lies_behind_a_cursor(profile):
    place = Place(profile)
    source = await place.start("talk")
    await place.publish(*(message("ann", n) for n in range(5)))
    assert [0, 0, 0, 5] == sorted((await place.client.behind(place.at)).values())
    await place.read(source, "talk")
    assert {0} == set((await place.client.behind(place.at)).values())


# ---------------------------------------------------------------- queues


@pytest.mark.parametrize("profile", QUEUES)
@pytest.mark.parametrize("end", ["close", "own", "cut"])
async def test_what_is_not_settled_comes_again_to_who_reads_next_and_what_is_settled_does_not(profile, end):
    place = Place(profile, seed=3)
    source = await place.start("talk")
    await place.publish(*(message("ann", n) for n in range(4)))
    came = await place.read(source)
    slot = next(number for number, found in source._held.items() if found.deliveries)
    await source.settle(slot, came[1].position)
    await source.settle(slot, came[1].position)
    left = {"close": source.close, "own": lambda: source.own(()), "cut": lambda: cut(place)}[end]
    await left()
    again = await place.read_all(await place.another("talk"))
    assert sorted(ids(came[2:])) == sorted(ids(again))


async def cut(place):
    place.server.cut()
    with pytest.raises(StorageUnavailable):
        await place.client.layouts(["talk"])


async def test_a_second_reader_of_a_rabbit_queue_gets_nothing_before_the_first_is_gone():
    place = Place("rabbit-quorum")
    first = await place.start("talk")
    second = await place.another("talk")
    await place.publish(message("ann", 0))
    assert [] == await place.read(second)
    await place.read(first)
    await place.publish(message("ann", 1))
    await first.close()
    assert ["ann-0", "ann-1"] == ids(await place.read(second))


async def test_of_one_group_of_sqs_fifo_only_one_reader_has_messages():
    place = Place("sqs-fifo")
    first = await place.start("talk")
    second = await place.another("talk")
    await place.publish(message("ann", 0))
    await place.read(first)
    await place.publish(message("ann", 1), message("bob", 0))
    assert ["bob-0"] == ids(await place.read(second))
    await first.close()
    assert ["ann-0", "ann-1"] == ids(await place.read(second))


@pytest.mark.parametrize("profile", ["sqs-fifo", *LOOSE])
async def test_what_is_not_settled_within_its_visibility_time_out_comes_again_and_has_to_be_settled_there(profile):
    place = Place(profile, seed=3)
    source = await place.start("talk")
    await place.publish(message("ann"))
    (first,) = await place.read(source)
    slot = next(number for number, found in source._held.items() if found.deliveries)
    place.clock.seconds += 29
    assert [] == await place.read(source)
    place.clock.seconds += 1
    (second,) = await place.read(source)
    assert first.position < second.position
    await source.settle(slot, first.position)
    place.clock.seconds += 30
    (third,) = await place.read(source)
    await source.settle(slot, third.position)
    place.clock.seconds += 30
    assert [] == await place.read(source)


async def test_sqs_fifo_takes_a_message_id_once_in_five_minutes():
    place = Place("sqs-fifo")
    source = await place.start("talk")
    await place.publish(message("ann"), message("ann"))
    place.clock.seconds += 299
    await place.publish(message("ann"))
    place.clock.seconds += 1
    assert ["ann-0"] == ids(await place.read(source))
    await source.own(())
    await place.publish(message("ann"))
    assert ["ann-0", "ann-0"] == ids(await place.read(await place.another("talk")))


@pytest.mark.parametrize("profile", ["sqs-fifo", *LOOSE])
async def test_sqs_gives_ten_messages_of_a_queue_at_once(profile):
    place = Place(profile)
    source = await place.start("talk")
    await place.publish(*(message("ann", n) for n in range(30)))
    assert 10 == len(await place.read(source))


async def test_at_most_500_messages_of_a_slot_are_under_way():
    place = Place("rabbit-quorum")
    source = await place.start("talk")
    await place.publish(*(message("ann", n) for n in range(600)))
    came = await place.read_all(source)
    assert 500 == len(came)
    slot = next(number for number, found in source._held.items() if found.deliveries)
    await source.settle(slot, came[99].position)
    assert 100 == len(await place.read_all(source))


@pytest.mark.parametrize("profile", QUEUES)
async def test_each_reader_of_a_queue_has_a_copy_of_what_came_since_it_was_bound(profile):
    place = Place(profile, seed=3)
    first = await place.start("talk")
    await place.publish(message("ann", 0))
    await place.client.begin("other", ["talk"], SLOTS, "beginning")
    await place.publish(message("ann", 1))
    other = place.client.source("other", ["talk"], SLOTS)
    await other.own(range(SLOTS))
    assert ["ann-1"] == ids(await place.read_all(other))
    assert ["ann-0", "ann-1"] == sorted(ids(await place.read_all(first)))
