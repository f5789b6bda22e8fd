"""The consumer of librdkafka and the thread in which everything of it happens; its configuration and its errors.

Polling in one thread and storing offsets in another was measured to block for seconds.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from eventseam.errors import SettingsError, StorageUnavailable
from eventseam.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from eventseam.clock import Clock
    from eventseam.ports.address import Address

ASK_SECONDS = 10.0
_PASSING = ("NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART")
_CONSUMER = (
    ("enable.auto.commit", False),
    ("enable.auto.offset.store", False),
    ("auto.offset.reset", "error"),  # what was trimmed is an alarm, never a skip
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", 16_384),
    ("fetch.queue.backoff.ms", 10),
    ("fetch.error.backoff.ms", 50),
)
_SHARED = (
    ("group.protocol", "consumer"),
    ("group.remote.assignor", "range"),  # the same partitions of every topic go to one member
)
_SASL = {"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"}
_FILES = {"ca": "ssl.ca.location", "certificate": "ssl.certificate.location", "key": "ssl.key.location"}


def config_of(address: Address) -> dict[str, str]:
    """What every client is told. librdkafka verifies the server's certificate and its name by default."""
    sasl = _SASL.get(address.options.get("sasl", "scram-sha-512"))
    if sasl is None or ("sasl" in address.options and not address.user):
        raise SettingsError(f"a kafka transport's sasl= is one of {', '.join(_SASL)}, and needs USER:PASSWORD@")
    config = {"bootstrap.servers": ",".join(address.hosts), **{_FILES[name]: at for name, at in address.files.items()}}
    config["security.protocol"] = ("SASL_" if address.user else "") + ("SSL" if address.is_tls else "PLAINTEXT")
    if address.user:
        config |= {"sasl.username": address.user, "sasl.password": address.password, "sasl.mechanism": sasl}
    return config


def make(kind: Callable[[dict[str, Any]], Any], config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the client's types
    """A client of librdkafka. Raises SettingsError for what it cannot work with, and names the file if it is one."""
    files = {setting: f"{option}={config[setting]}" for option, setting in _FILES.items() if setting in config}
    for setting, told in files.items():
        if not Path(config[setting]).exists():
            raise SettingsError(
                f"EVENTSEAM_TRANSPORT says {told}: there is no such file. Name one that this user can read"
            )
    try:
        return kind(dict(config))
    except KafkaException as error:
        text = error.args[0].str()
        named = next((f"{told} of " for setting, told in files.items() if setting in text), "")
        raise SettingsError(f"Kafka's client cannot be made: {text}. Correct {named}EVENTSEAM_TRANSPORT") from error


class Troubles:
    """What a client's background threads said last, which is more than its calls say: why nothing can be reached."""

    def __init__(self, hosts: str, clock: Clock) -> None:
        """Nothing was said yet."""
        self._hosts = hosts
        self._clock = clock
        self._last: tuple[str, str] = ("", "")
        self.is_down = False

    def hear(self, error: Any) -> None:  # noqa: ANN401 - confluent_kafka.KafkaError
        """The client's error callback."""
        if error.name() != "_ALL_BROKERS_DOWN" or not self._last[0]:  # that one says less than what came before it
            self._last = (error.name(), error.str())
        self.is_down = self.is_down or error.name() in ("_ALL_BROKERS_DOWN", "_AUTHENTICATION", "_SSL")

    async def told(self, threads: Threads, body: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the body returns
        """Run a body that asks the broker, in a thread; the client's errors become ours.

        What passes by itself (a topic that is new has no leader for a moment) is asked again for a while.
        """
        ends = self._clock.monotonic() + ASK_SECONDS
        while True:
            try:
                return await threads.run(body)
            except KafkaException as error:
                if error.args[0].name() not in _PASSING or self._clock.monotonic() > ends:
                    raise self.error_of(error.args[0]) from error
            await self._clock.sleep(0.05)

    def error_of(self, error: Any) -> StorageUnavailable:  # noqa: ANN401 - confluent_kafka.KafkaError
        """Our error for one of the client's, with the cause that its background threads know."""
        name, text = (error.name(), error.str()) if error is not None else self._last
        if name in ("_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN", "_RESOLVE") and self._last[0]:
            name, text = self._last
        return StorageUnavailable(f"Kafka at {self._hosts}: {text}. {_fix(name, text)}")

    def down(self) -> StorageUnavailable | None:
        """The error to raise if it was said that nothing can be reached; said once."""
        if not self.is_down:
            return None
        self.is_down = False
        return self.error_of(None)


def _fix(name: str, text: str) -> str:
    if "PLAINTEXT broker listener" in text:
        return "The broker speaks no TLS at this port: name its port for TLS, or write kafka:// if it needs none"
    if name in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED"):
        return "Check user, password and sasl= of EVENTSEAM_TRANSPORT"
    if name == "_SSL" or "SSL handshake failed" in text:
        return "Check the certificates: ca= names the file of the authority that signed the broker's"
    if name.endswith("AUTHORIZATION_FAILED"):
        return "Grant our user Read, Write and Describe on the topics, and Create on the cluster, or make them yourself"
    return "Is it running, and is the address of EVENTSEAM_TRANSPORT right?"


class Group(NamedTuple):
    """A consumer group: its name, the topics that its members read, and whether the broker shares them out."""

    name: str
    topics: Collection[str]
    is_shared: bool


class Client:
    """A consumer. `offered` are the slots that the broker's group has given to this member, None without one.

    `dropped` are those of which something was taken away: they are read no more until they are assigned again.
    """

    def __init__(self, config: Mapping[str, Any], group: Group, troubles: Troubles) -> None:
        """Connect when something is assigned, or with the first look at what the group gives."""
        self._config = config
        self._group = group
        self._troubles = troubles
        self._threads = Threads("kafka-source", 1)
        self._made: Any = None
        self._given: set[tuple[str, int]] = set()
        self.offered: frozenset[int] | None = frozenset() if group.is_shared else None
        self.dropped: set[int] = set()
        self.is_closed = False

    async def assign(self, spots: Iterable[tuple[str, int, int]]) -> None:
        """Read topics' partitions from offsets on; whatever was read of these slots before is dropped."""
        await self._troubles.told(self._threads, partial(self._assign, list(spots)))

    async def unassign(self, slots: Collection[int]) -> None:
        """Read slots no more."""
        await self._troubles.told(self._threads, partial(self._unassign, slots))

    async def consume(self, limit: int, seconds: float = 0.0) -> list[Any]:
        """Up to `limit` messages and errors; the first of them is waited for."""
        if self.is_closed:
            return []
        found: list[Any] = await self._troubles.told(self._threads, lambda: self._consumer().consume(limit, seconds))
        return found

    async def commit(self, spots: Iterable[tuple[str, int, int]]) -> None:
        """Tell the group how far topics' partitions are read. Raises StorageUnavailable; a late failure is not told."""
        places = [TopicPartition(*spot) for spot in spots]
        await self._troubles.told(self._threads, lambda: self._consumer().commit(offsets=places, asynchronous=True))

    async def close(self) -> None:
        """Leave the group, and disconnect. Idempotent."""
        self.is_closed = True
        made, self._made = self._made, None
        if made is not None:
            await self._threads.run(made.close)
        self._threads.close()

    # --- in the thread --------------------------------------------------------------------------------------------

    def _consumer(self) -> Any:  # noqa: ANN401 - confluent_kafka.Consumer
        if self._made is None:
            shared = dict(_SHARED) if self._group.is_shared else {}
            config = {**self._config, **dict(_CONSUMER), **shared, "group.id": self._group.name}
            self._made = make(Consumer, config)
            if self._group.is_shared:
                calls: dict[str, Any] = {"on_assign": self._gain, "on_revoke": self._lose, "on_lost": self._lose}
                self._made.subscribe(list(self._group.topics), **calls)
        return self._made

    def _assign(self, spots: Sequence[tuple[str, int, int]]) -> None:
        self._unassign({slot for _, slot, _ in spots})
        self._consumer().incremental_assign([TopicPartition(*spot) for spot in spots])

    def _unassign(self, slots: Collection[int]) -> None:
        consumer = self._consumer()
        old = [each for each in consumer.assignment() if each.partition in slots]
        if old:
            consumer.incremental_unassign(old)

    def _gain(self, consumer: Any, places: Sequence[TopicPartition]) -> None:  # noqa: ANN401 - confluent_kafka.Consumer
        """The group gave us these. They are read once we have their positions, which is later."""
        consumer.incremental_assign([])
        self._given.update((each.topic, each.partition) for each in places)
        self._offer()

    def _lose(self, consumer: Any, places: Sequence[TopicPartition]) -> None:  # noqa: ANN401 - confluent_kafka.Consumer
        """The group takes these away. What was read of them is finished under our fence, or dropped."""
        if self.is_closed:
            return  # the client gives everything back by itself, and can be asked nothing any more
        gone = {(each.topic, each.partition) for each in places}
        self._given -= gone
        self.dropped.update(slot for _, slot in gone)
        self._offer()
        consumer.incremental_unassign([each for each in consumer.assignment() if (each.topic, each.partition) in gone])

    def _offer(self) -> None:
        slots = {slot for _, slot in self._given}
        whole = {slot for slot in slots if all((topic, slot) in self._given for topic in self._group.topics)}
        self.offered = frozenset(whole)
