"""Kafka: a topic for each channel, a log with positions that we keep ourselves.

A reader is assigned its partitions at the offsets of its own database: no consumer group decides anything, so that no
rebalance, session or poll time-out can take a slot away or give it twice. The group's offsets are reported once a
second for lag tools and never read. All topics of one reader have the same number of partitions and one hash (Java's
murmur2), so that a key has one slot in all of them.

Who must have a group (for access rights, quotas, tools) writes `groups=true`: then the broker's group (its new
protocol, of Kafka 4) says who reads which slots, and our leases and fences still say who may apply.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import IsolationLevel, KafkaException, Producer, TopicCollection, TopicPartition, murmur2
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from eventseam.contracts.cloudevents import UNKNOWN_TIME
from eventseam.errors import OutcomeUnknown, StorageError, StorageUnavailable, TooLarge
from eventseam.ports.address import Address, Scheme, read_address
from eventseam.ports.cursors import check_incarnations, lost, settled, unsure
from eventseam.ports.shelf import Shelf
from eventseam.ports.transport import Capabilities, Feature, Layout, Received
from eventseam.ports.wire import Place, Style, as_ours, inward, outward
from eventseam.threads import Threads
from eventseam.transports.kafka_client import ASK_SECONDS, Client, Group, Troubles, config_of, make

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from eventseam.clock import Clock
    from eventseam.ports.transport import Cursor, Page, Starts

CAPABILITIES = Capabilities(
    features=frozenset(Feature),
    durable="the page caches of the in-sync replicas (acks=all)",
    order="per key, within a partition",
    redelivery="from our own position",
    dedup="an idempotent producer's own retries; else our inbox",
    age_max="the topic's retention.ms or retention.bytes",
    body_bytes_max=900_000,
)

_WIRE_BYTES_MAX = 1_000_000  # of a message with its headers; the broker's default for a batch is 1,048,588
_PUBLISH_SECONDS = 30.0
_KEPT_READY_MAX = 10_000
_READY_MAX = 2_000
_SEEN_EVERY_SECONDS = 10.0
_WAIT_SECONDS = 0.1  # in one step: whoever closes it does not wait longer
_PARTITIONS = 6

_PRODUCER = (
    ("enable.idempotence", True),
    ("message.timeout.ms", 0),  # we have a deadline of our own: one that skips a message would leave a gap
    ("linger.ms", 1),
    ("message.max.bytes", _WIRE_BYTES_MAX + 65_536),
    ("queue.buffering.max.messages", 1_000_000),
)
_SPEC: Any = OffsetSpec
_SCHEME = Scheme("kafka", 9092, ("prefix", "partitions", "replicas", "sasl", "group", "groups"))
_UNKNOWN = ("_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN", "REQUEST_TIMED_OUT", "NOT_CONTROLLER")
_LOG = logging.getLogger("eventseam.kafka")


def connect(url: str, clock: Clock, styles: Mapping[str, Style] | None = None) -> KafkaBroker:
    """A broker that is not open yet; `styles` says how each channel's messages travel.

    `kafka[+tls]://[user:password@]host:port,…[?option=value]`; options: `prefix` of every topic, `partitions` and
    `replicas` of topics that we make, `sasl` (scram-sha-512, scram-sha-256 or plain), `group` whose offsets tools see
    (default: the reader's name), `groups=true` to let the broker's group share the slots out, and the files of TLS.
    Raises SettingsError.
    """
    return KafkaBroker(read_address(url, _SCHEME), clock, styles or {})


class KafkaBroker:
    """See ports.transport.Broker."""

    capabilities = CAPABILITIES

    def __init__(self, address: Address, clock: Clock, styles: Mapping[str, Style]) -> None:
        """Connect to nothing yet."""
        if not _LOG.handlers:  # else what clients say of each attempt is on stderr, where nobody configured logs
            _LOG.addHandler(logging.NullHandler())
        self.clock = clock
        self._styles = styles
        self.hosts = address.shown
        self.prefix = address.prefix
        self.group = address.options.get("group", "")
        self.is_shared = address.flag("groups")
        self.partitions = address.number("partitions", _PARTITIONS)
        self._replicas = address.number("replicas", -1)
        self._config = config_of(address)
        self._threads = Threads("kafka-admin", 2)
        self._troubles = Troubles(self.hosts, clock)
        self._admin: Any = None
        self._layouts: dict[str, Layout] = {}
        self._sinks: list[KafkaSink] = []

    def slot_of(self, key: str, slots: int) -> int:
        """See ports.transport.Broker: as Java's clients, and those that do as they do."""
        return murmur2(key.encode(), slots)

    async def open(self) -> None:
        """See ports.transport.Broker."""
        self._admin = make(AdminClient, self.config(self._troubles))
        await self._ask(lambda: self._admin.list_topics(timeout=ASK_SECONDS))

    async def _ask(self, body: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the body returns
        """Run a body that asks the broker, in a thread. If it fails, hear what the client's own threads know of it."""

        def ask() -> Any:  # noqa: ANN401
            try:
                return body()
            except KafkaException:
                self._admin.poll(0)
                raise

        return await self._troubles.told(self._threads, ask)

    def config(self, troubles: Troubles) -> dict[str, Any]:
        """What every client of this broker is told."""
        return {**self._config, "client.id": "eventseam", "error_cb": troubles.hear, "logger": _LOG}

    def topic(self, channel: str) -> str:
        """A channel's topic."""
        return self.prefix + channel

    def style(self, channel: str) -> Style:
        """How a channel's messages travel."""
        return self._styles.get(channel) or Style()

    async def layouts(self, channels: Collection[str]) -> Mapping[str, Layout]:
        """See ports.transport.Broker."""
        found: dict[str, Layout] = await self._ask(partial(self._describe, sorted(channels))) if channels else {}
        self._layouts = {**found, **self._layouts}  # what is published has one hash from start to end
        return found

    def _describe(self, channels: Sequence[str]) -> dict[str, Layout]:
        topics = TopicCollection([self.topic(each) for each in channels])
        asked = self._admin.describe_topics(topics, request_timeout=ASK_SECONDS)
        found: dict[str, Layout] = {}
        for channel in channels:
            error = asked[self.topic(channel)].exception()
            if error is None:
                told = asked[self.topic(channel)].result()
                found[channel] = Layout(len(told.partitions), str(told.topic_id))
            elif error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
                raise error
        return found

    async def create(self, wanted: Mapping[str, int]) -> None:
        """See ports.transport.Broker. Returns when every topic is shown."""
        there = await self.layouts(wanted)
        missing = {channel: count for channel, count in wanted.items() if channel not in there}
        if missing:
            await self._ask(partial(self._create, missing))
        ends = self.clock.monotonic() + ASK_SECONDS
        while missing and len(await self.layouts(missing)) < len(missing) and self.clock.monotonic() < ends:
            await self.clock.sleep(0.05)

    def _create(self, missing: Mapping[str, int]) -> None:
        new = [NewTopic(self.topic(channel), count, self._replicas) for channel, count in missing.items()]
        for topic, future in self._admin.create_topics(new, request_timeout=ASK_SECONDS).items():
            error = future.exception()
            if error is not None and error.args[0].name() in _UNKNOWN:
                raise error
            if error is not None and error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise StorageError(
                    f"Kafka does not make topic {topic}: {error.args[0].str()}. Make it with: eventseam topology apply"
                ) from error

    async def begin(self, reader: str, channels: Collection[str], slots: int, starts: Starts) -> Mapping[int, Cursor]:  # noqa: ARG002
        """See ports.transport.Broker. A log knows no readers."""
        names = sorted(channels)
        layouts = await self.layouts(names)
        if isinstance(starts, datetime):
            spec = _SPEC.for_timestamp(int(starts.timestamp() * 1_000))
        else:
            spec = _SPEC.earliest() if starts == "beginning" else _SPEC.latest()
        places = [(channel, slot) for channel in names for slot in range(slots)]
        offsets = await self._offsets(places, spec)
        late = [place for place, offset in offsets.items() if offset < 0]  # no message of that time or later
        offsets |= await self._offsets(late, _SPEC.latest())
        return {
            slot: tuple((channel, layouts[channel].incarnation, offsets[channel, slot]) for channel in names)
            for slot in range(slots)
        }

    async def behind(self, at: Mapping[int, Cursor]) -> Mapping[int, int]:
        """See ports.transport.Broker."""
        places = [(spot[0], slot) for slot, cursor in at.items() for spot in cursor]
        ends = await self._offsets(places, _SPEC.latest())
        return {slot: sum(max(0, ends[spot[0], slot] - spot[2]) for spot in cursor) for slot, cursor in at.items()}

    async def _offsets(self, places: Sequence[tuple[str, int]], spec: object) -> dict[tuple[str, int], int]:
        def ask() -> dict[tuple[str, int], int]:
            asked = {TopicPartition(self.topic(channel), slot): spec for channel, slot in places}
            options = {"isolation_level": IsolationLevel.READ_COMMITTED, "request_timeout": ASK_SECONDS}
            found = self._admin.list_offsets(asked, **options)
            told = {(each.topic, each.partition): future.result().offset for each, future in found.items()}
            return {(channel, slot): told[self.topic(channel), slot] for channel, slot in places}

        return await self._ask(ask) if places else {}

    async def partitions_of(self, channels: Iterable[str]) -> Mapping[str, int]:
        """How many partitions channels have: until the next start as they were at first. Missing ones are made."""
        missing = {each: self.partitions for each in channels if each not in self._layouts}
        if missing:
            await self.create(missing)
        return {channel: layout.partitions for channel, layout in self._layouts.items()}

    def source(self, reader: str, channels: Sequence[str], slots: int) -> KafkaSource:
        """See ports.transport.Broker."""
        return KafkaSource(self, reader, channels, slots)

    def sink(self) -> KafkaSink:
        """See ports.transport.Broker."""
        sink = KafkaSink(self)
        self._sinks.append(sink)
        return sink

    async def close(self) -> None:
        """See ports.transport.Broker."""
        for sink in self._sinks:
            sink.close()
        self._threads.close()


class KafkaSink:
    """See ports.transport.Sink. One producer; after any failure a new one, since nothing of the old may land later."""

    def __init__(self, broker: KafkaBroker) -> None:
        """Connect with the first batch."""
        self._broker = broker
        self._threads = Threads("kafka-sink", 1)
        self._troubles = Troubles(broker.hosts, broker.clock)
        self._producer: Any = None

    async def publish(self, batch: Sequence[Received]) -> None:
        """See ports.transport.Sink."""
        partitions = await self._broker.partitions_of({message.envelope.channel for message in batch})
        rows: list[tuple[Any, ...]] = []
        for message in batch:
            channel = message.envelope.channel
            headers, body = outward(message, self._broker.style(channel))
            if len(body) > _WIRE_BYTES_MAX:
                raise TooLarge(f"{len(body):,} bytes on the wire; Kafka takes {_WIRE_BYTES_MAX:,}. Send a link instead")
            key = message.envelope.key.encode()
            where = (self._broker.topic(channel), murmur2(key, partitions[channel]))
            rows.append((*where, key, body, list(headers.items())))
        await self._threads.run(partial(self._send, rows), self._abandon)

    def _abandon(self) -> None:
        """End a wait for what is under way."""
        if self._producer is not None:
            self._producer.purge(blocking=False)

    def _send(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Hand over everything and wait until it is in; else purge, and know nothing of what was under way."""
        config = {**self._broker.config(self._troubles), **dict(_PRODUCER)}
        producer = self._producer = self._producer or make(Producer, config)
        failures: list[Any] = []

        def report(error: Any, _: Any) -> None:  # noqa: ANN401 - the client's types
            if error is not None:
                failures.append(error)

        left = 1
        try:
            for topic, partition, key, body, headers in rows:
                producer.produce(topic, body, key, partition, on_delivery=report, headers=headers)
            left = producer.flush(_PUBLISH_SECONDS)
        except (KafkaException, BufferError) as error:
            failures.append(error.args[0] if isinstance(error, KafkaException) else None)
        if left or failures:
            self._give_up(failures)

    def _give_up(self, failures: Sequence[Any]) -> None:
        producer, self._producer = self._producer, None
        producer.purge()
        producer.flush(1.0)
        names = {error.name() for error in failures if error is not None}
        if names == {"MSG_SIZE_TOO_LARGE"}:
            raise TooLarge("Kafka: a message is larger than the topic's max.message.bytes. Raise it, or send a link.")
        error = next((error for error in failures if error is not None and error.name() != "_PURGE_QUEUE"), None)
        trouble = self._troubles.error_of(error)
        raise OutcomeUnknown(str(trouble)) from trouble

    def close(self) -> None:
        """Every publish has returned: nothing is under way."""
        self._producer = None
        self._threads.close()


class KafkaSource:
    """See ports.transport.LogSource. A slot is a partition, the same of every topic that the reader has."""

    shape: Literal["log"] = "log"
    memory = None
    is_apart = True
    cap_by: Literal["slot"] = "slot"

    def __init__(self, broker: KafkaBroker, reader: str, channels: Sequence[str], slots: int) -> None:
        """Connect when slots are owned, or to see what the group gives."""
        self.slots = slots
        self.head = 0
        self._broker = broker
        self._reader = reader
        self._channel_of = {broker.topic(channel): channel for channel in channels}
        self._troubles = Troubles(broker.hosts, broker.clock)
        group = Group(broker.group or reader, self._channel_of, broker.is_shared)
        self._client = Client(broker.config(self._troubles), group, self._troubles)
        self._shelf = Shelf(self._read)
        self._heard: list[Any] = []
        self._checked = 0.0
        self._incarnations: dict[str, str] = {}

    @property
    def offered(self) -> frozenset[int] | None:
        """See ports.transport.LogSource."""
        return self._client.offered

    async def prepare(self) -> None:
        """See ports.transport.LogSource."""
        await self.own(())
        if self._broker.is_shared:
            self._heard += await self._client.consume(1)

    async def own(self, slots: Collection[int]) -> None:
        """See ports.transport.LogSource."""
        await self._drop([slot for slot in self._shelf.at if slot not in slots])
        if slots:
            await self._check()

    async def _drop(self, slots: Collection[int]) -> None:
        """Read some slots no more; one that is asked for again begins where it is asked for."""
        self._shelf.drop(slots)
        if slots:
            await self._client.unassign(slots)

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:  # noqa: ARG002 - its own
        """See ports.transport.LogSource."""
        self._shelf.drop(self._client.dropped)
        self._client.dropped.clear()
        if self.offered is not None:
            at = {slot: cursor for slot, cursor in at.items() if slot in self.offered}
        moved = self._shelf.moved(at)
        for slot, cursor in moved.items():
            check_incarnations((self._reader, slot), cursor, self._incarnations)
        unknown = {each for cursor in moved.values() for each in unsure(cursor, self._channel_of.values())}
        if unknown:
            self._shelf.drop(moved)  # none of them is read yet, also where nothing was unknown
            return settled(moved, await self._broker.begin(self._reader, unknown, self.slots, "beginning"))
        if moved:  # what was heard of these before lies behind what comes now, which would be taken for old
            self._heard = [each for each in self._heard if each.partition() not in moved]
            try:
                await self._client.assign(self._spots(moved))
            except StorageUnavailable:
                self._shelf.drop(moved)
                raise
        await self._drop(self._shelf.longer_than(_READY_MAX, at))
        if self._broker.clock.monotonic() - self._checked > _SEEN_EVERY_SECONDS:
            await self._check()
        if len(self._shelf) < _KEPT_READY_MAX:
            self._heard += await self._client.consume(limit)
        self._sort()
        pages = self._shelf.pages(at, limit)
        self.head = self._shelf.given
        trouble = self._troubles.down()
        if trouble is not None and not pages:
            raise trouble
        return pages

    def _spots(self, at: Mapping[int, Cursor]) -> list[tuple[str, int, int]]:
        """Topic, partition and offset of what cursors say, for the channels that are read."""
        topic = self._broker.topic
        spots = [(topic(channel), slot, offset) for slot, cursor in at.items() for channel, _, offset in cursor]
        return [spot for spot in spots if spot[0] in self._channel_of]

    async def wait(self, timeout_seconds: float) -> None:
        """See ports.transport.LogSource."""
        ends = self._broker.clock.monotonic() + timeout_seconds
        with suppress(StorageUnavailable):  # the next fetch says so
            while not (self._heard or len(self._shelf) or self._client.is_closed):
                left = ends - self._broker.clock.monotonic()
                if left <= 0:
                    return
                self._heard += await self._client.consume(1, min(left, _WAIT_SECONDS))

    async def report(self, done: Mapping[int, Cursor]) -> None:
        """See ports.transport.LogSource: as offsets of the group."""
        spots = self._spots(done)
        if spots:
            with suppress(StorageUnavailable):
                await self._client.commit(spots)

    async def close(self) -> None:
        """See ports.transport.LogSource."""
        self._shelf.drop(list(self._shelf.at))
        await self._client.close()

    async def _check(self) -> None:
        """Look whether topics are those that they were. Raises StorageError where one was deleted."""
        layouts = await self._broker.layouts(self._channel_of.values())
        self._checked = self._broker.clock.monotonic()
        gone = Layout(0)
        self._incarnations = {each: layouts.get(each, gone).incarnation for each in self._channel_of.values()}
        for slot, cursor in self._shelf.at.items():
            check_incarnations((self._reader, slot), cursor, self._incarnations)

    # --- what was consumed ----------------------------------------------------------------------------------------

    def _sort(self) -> None:
        """Lay what was consumed with what is ready of its slot. Raises StorageError for what was trimmed."""
        heard, self._heard = self._heard, []
        trouble: StorageUnavailable | None = None
        for message in heard:
            error = message.error()
            if error is None:
                self._shelf.put(message.partition(), self._channel_of[message.topic()], message.offset(), message)
            elif error.name() == "_AUTO_OFFSET_RESET":
                channel = self._channel_of[message.topic()]
                raise lost((self._reader, message.partition()), channel, message.offset(), "was trimmed")
            elif error.name() in ("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID"):
                self._checked = 0.0
            else:
                trouble = self._troubles.error_of(error)
        if trouble is not None:  # now that everything that the client will not give again has its place
            raise trouble

    def _read(self, message: Any, channel: str, position: int) -> Received:  # noqa: ANN401 - confluent_kafka.Message
        headers, body = message.headers(), message.value()
        ours = as_ours(headers, body, channel, message.key())
        if ours is not None:
            return Received(position, *ours)
        kind, milliseconds = message.timestamp()
        time = datetime.fromtimestamp(milliseconds / 1_000, UTC) if kind and milliseconds >= 0 else UNKNOWN_TIME
        name = f"{message.topic()}-{message.partition()}-{message.offset()}"
        place = Place(position, channel, name, message.key(), time)
        return inward(headers or (), body, place, self._broker.style(channel))
