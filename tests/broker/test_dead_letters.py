"""Dead letters of a service that reads a broker: rows here, copies there, and the way back from either."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, closing, suppress
from unittest import mock

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from eventseam import App, Retry, Seams, Settings
from eventseam.cli.main import main
from eventseam.delivery import apply as applying
from eventseam.delivery.copies import Copy, Home, redrive_copies
from eventseam.delivery.item import Cause, Parked
from eventseam.delivery.relay import Relay
from eventseam.delivery.shift import Shift
from eventseam.journal.source import received
from eventseam.ports.transport import Received
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from eventseam.storage.sqlite import SqliteStore
from tests.support.item import make_item
from tests.support.run import until
from tests.support.talk import COLOURS, Said, ears, hear

TWICE = Retry(attempts=2, first_seconds=0.02, jitter=0.0)


class Town:
    """An app with a bug on one database and one broker, and what is to be seen of it."""

    def __init__(self, database, url) -> None:
        self.database, self.url = database, url
        self.service = None

    def app(self, *, is_fixed=False, transport=None):
        """`poison` cannot be heard before the bug is fixed."""
        self.service = ears()

        @self.service.on(Said, name="hear", retry=TWICE)
        async def on_said(said: Said, ctx) -> None:
            if said.who == "poison" and not is_fixed:
                raise ValueError("no line to https://me:hunter2@there\nat all")
            hear(ctx, said)

        return App(self.service, settings=self.settings(transport))

    def settings(self, transport=None):
        return Settings(database=f"sqlite:///{self.database}", transport=transport or self.url, durability="normal")

    async def run(self, *messages, **how) -> None:
        """Publish, and run until nothing more is to be done."""
        app = self.app(**how)
        async with app.running():
            await app.publish(self.service, *messages)
            await app.wait_idle(30)

    def query(self, statement, *args):
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(statement, args).fetchall()

    def heard(self):
        return self.query("SELECT who, n FROM heard ORDER BY id")

    def unsettled(self):
        return self.query("SELECT lane, state FROM unsettled WHERE service = 'ears' ORDER BY id")

    @property
    def servers(self):
        return self.url.removeprefix("kafka://").partition("?")[0].rstrip("/")

    def topic(self, name):
        return self.url.partition("prefix=")[2] + name

    def copies(self, expected=1):
        """What a plain client finds on the topic of dead letters: key, value and headers of each message."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "plain", "enable.auto.commit": False})
        consumer.assign([TopicPartition(self.topic("talk.dlq"), 0, 0)])
        found = []
        while len(found) < expected and (message := consumer.poll(10)) is not None:
            assert message.error() is None, message.error()
            headers = {name: value.decode() for name, value in message.headers()}
            found.append((message.key().decode(), message.value(), headers))
        more = consumer.poll(0.3)
        consumer.close()
        assert more is None, "there are more than expected"
        return found

    def put(self, key, value) -> None:
        """Put something on the topic that no CloudEvent is."""
        producer = Producer({"bootstrap.servers": self.servers})
        producer.produce(self.topic("talk"), value, key, 0)
        assert not producer.flush(10)


@pytest.fixture
def town(tmp_path, kafka_url):
    return Town(tmp_path / "town.db", kafka_url)


@pytest.fixture
def redrive(town, capsys, monkeypatch):
    """`eventseam dlq redrive …`: its exit code and its document."""
    monkeypatch.setenv("EVENTSEAM_TRANSPORT", town.url)

    async def run(*words):
        words = ["dlq", "redrive", *words, "--json", "--database", f"sqlite:///{town.database}"]
        code = await asyncio.to_thread(main, words)
        return code, json.loads(capsys.readouterr().out)

    return run


def counted(**counts):
    names = ("redriven", "restored", "unsettled", "settled", "unread", "unknown", "others", "foreign")
    return {"channel": "talk", **dict.fromkeys(names, 0), **counts}


async def test_a_poison_message_stops_no_other_key_and_its_copy_is_on_the_topic_of_dead_letters(town):
    await town.run(*[Said(who, n) for n in (1, 2) for who in ("ann", "poison", "bob")])
    assert [("ann", 1), ("ann", 2), ("bob", 1), ("bob", 2)] == sorted(town.heard())
    assert [("poison", "dead"), ("poison", "waiting")] == town.unsettled()
    ((key, value, headers),) = town.copies()
    ((message_id, envelope),) = town.query("SELECT message_id, envelope FROM unsettled WHERE state = 'dead'")
    original, document = json.loads(envelope), json.loads(value)
    assert ("poison", "talk.said", {"who": "poison", "n": 1}) == (key, document["type"], document["data"])
    assert message_id == document["causationid"] != document["id"]
    assert original["correlation_id"] == document["correlationid"]
    assert original["trace"] == document["traceparent"]
    assert {
        "event-id": message_id,
        "error-message": "ValueError: no line to https://me:***@there at all",
        "retry-count": "2",
        "service": "ears",
        "handler": "hear",
    }.items() <= headers.items()
    assert headers["failed-at"].startswith("20")
    assert headers["origin"].startswith("talk/")


async def test_a_redriven_message_is_applied_once_before_what_waits_behind_it(town, redrive):
    await town.run(Said("poison", 1), Said("poison", 2))
    assert (0, {"redriven": 1, "missing": 0}) == await redrive("--all")
    await town.run(Said("poison", 3), is_fixed=True)
    assert [("poison", 1), ("poison", 2), ("poison", 3)] == town.heard()
    assert [] == town.unsettled()
    assert (1, counted(settled=1)) == await redrive("--from-channel", "talk")


async def test_a_message_that_dies_again_has_another_copy(town, redrive):
    await town.run(Said("poison"))
    await redrive("--all")
    await town.run()
    (_, _, first), (_, _, second) = town.copies(2)
    assert first["event-id"] == second["event-id"]
    assert first["failed-at"] < second["failed-at"]


async def test_no_copy_is_lost_when_the_app_ends_before_it_is_relayed(town):
    publish = Relay._publish

    async def all_but_copies(self, shift, messages):
        if any(message.envelope.channel.endswith(".dlq") for message in messages):
            await asyncio.Event().wait()
        return await publish(self, shift, messages)

    app = town.app()
    with mock.patch.object(Relay, "_publish", all_but_copies):
        async with app.running():
            await app.publish(town.service, Said("poison"))
            await until(lambda: [("poison", "dead")] == town.unsettled())
    assert [] == town.copies(0)
    await town.run()
    assert 1 == len(town.copies())


async def test_what_is_no_message_arrives_byte_by_byte(town, redrive):
    await town.run()
    raw = b'{"who": \xff\x00 nobody'
    town.put("k", raw)
    await town.run()
    ((key, value, headers),) = town.copies()
    assert ("k", raw, "unrouted") == (key, value, headers["handler"])
    assert headers["error-message"].startswith("UnknownType: no CloudEvent")
    town.query("DELETE FROM unsettled")
    town.query("DELETE FROM processed_events")
    assert (0, counted(restored=1)) == await redrive("--from-channel", "talk")
    assert [(raw,)] == town.query("SELECT body FROM unsettled")


async def test_without_a_broker_there_are_no_copies(town):
    await town.run(Said("poison"), transport="journal:")
    assert [("poison", "dead")] == town.unsettled()
    assert [("talk",)] == town.query("SELECT DISTINCT aggregate_type FROM event_outbox")


async def test_redrive_from_the_topic_tries_a_dead_row_again_once(town, redrive):
    await town.run(Said("poison", 1), Said("poison", 2))
    assert (0, counted(redriven=1)) == await redrive("--from-channel", "talk")
    assert (1, counted()) == await redrive("--from-channel", "talk")
    await town.run(is_fixed=True)
    assert [("poison", 1), ("poison", 2)] == town.heard()


async def test_redrive_from_the_topic_restores_a_row_that_is_gone_once(town, redrive):
    await town.run(Said("ann", 1), Said("poison", 2))
    before = town.query("SELECT handler, lane, slot, message_id, position, body FROM unsettled")
    town.query("DELETE FROM unsettled")
    town.query("DELETE FROM processed_events WHERE handler = 'hear'")
    assert (0, counted(restored=1)) == await redrive("--from-channel", "talk")
    assert (1, counted()) == await redrive("--from-channel", "talk")
    after = town.query("SELECT handler, lane, slot, message_id, position, body FROM unsettled")
    assert [row[:4] for row in before] == [row[:4] for row in after]
    await town.run(is_fixed=True)
    assert [("ann", 1), ("poison", 2)] == town.heard()


async def test_a_restored_row_is_tried_while_the_app_runs_and_rests(town, redrive):
    await town.run(Said("poison", 1))
    town.query("DELETE FROM unsettled")
    town.query("DELETE FROM processed_events")
    async with town.app(is_fixed=True).running() as app:
        await app.wait_idle(30)
        assert (0, counted(restored=1)) == await redrive("--from-channel", "talk")
        await until(lambda: [("poison", 1)] == town.heard())
        await app.wait_idle(30)


async def test_after_a_restored_backup_a_copy_does_not_overtake_what_is_still_to_be_read(town, redrive, tmp_path):
    await town.run(Said("poison", 1), is_fixed=True)
    with closing(sqlite3.connect(town.database)) as live, closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
        live.backup(backup)
    await town.run(Said("poison", 2), is_fixed=True)
    await town.run(Said("poison", 3))
    town.copies()
    with closing(sqlite3.connect(town.database)) as live, closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
        backup.backup(live)
    assert [("poison", 1)] == town.heard()
    assert (1, counted(unread=1)) == await redrive("--from-channel", "talk")
    await town.run(is_fixed=True)
    assert [("poison", n) for n in (1, 2, 3)] == town.heard()


async def test_what_the_inbox_does_not_reach_back_to_is_left_and_told(town, redrive):
    await town.run(Said("poison", 1))
    town.query("DELETE FROM unsettled")
    town.query("DELETE FROM processed_events")
    later = "2999-01-01T00:00:00.000Z"
    town.query("INSERT INTO processed_events (event_id, service, handler, processed_at) VALUES ('x', '', '', ?)", later)
    assert (1, counted(unknown=1)) == await redrive("--from-channel", "talk")
    assert [] == town.unsettled()


async def test_copies_of_services_of_other_databases_are_skipped_and_told(town, redrive):
    await town.run(Said("poison", 1))
    town.query("UPDATE positions SET reader = 'mouths/6@bus' || slot WHERE reader LIKE 'ears/%'")
    assert (1, counted(others=1)) == await redrive("--from-channel", "talk")


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_a_message_and_its_copy_are_dead_in_one_transaction(tmp_path, request, dialect):
    async with opened(tmp_path, request, dialect) as store:
        assert (0, 0) == await after(store, dying("k"), is_cut_off=True)
        assert (1, 1) == await after(store, dying("k"))


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_a_copy_leads_to_one_more_attempt_whatever_became_of_its_row(tmp_path, request, dialect):
    item = dying("k")
    copies, home, now = [Copy("s", "h", item.received)] * 2, Home(4, lambda _key, slots: slots - 1), Seams().clock.now()

    async def again(sql):
        return dict(await redrive_copies(sql, copies, home, now, None))

    async def forget(sql):
        await sql.rows("DELETE FROM unsettled")
        await sql.rows("DELETE FROM processed_events")

    async with opened(tmp_path, request, dialect) as store:
        await after(store, item)
        assert [{"redriven": 1}, {"unsettled": 1}] == [await store.write(again), await store.write(again)]
        await store.write(forget)
        assert [{"restored": 1}, {"unsettled": 1}] == [await store.write(again), await store.write(again)]
        assert [("retrying", 3)] == [
            tuple(row) for row in await store.read(lambda sql: sql.rows("SELECT state, slot FROM unsettled"))
        ]
        await store.write(lambda sql: sql.rows("DELETE FROM unsettled"))
        assert {"settled": 1} == await store.write(again)


FATES = [
    (("i", 7), ("i", 0), "unread"),
    (("i?", 7), ("i", 0), "unread"),
    (("", 7), ("i", 0), "unread"),
    (None, ("i", 0), "unread"),
    (("i", 8), ("i", 0), "restored"),
    (("i", 7), ("i", 8), "restored"),
    (None, ("i", 8), "restored"),
    (("another", 7), ("i", 0), "restored"),
]


@pytest.mark.parametrize("case", FATES)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_a_row_comes_back_only_if_its_message_is_not_to_be_read_any_more(tmp_path, request, dialect, case):
    (stands, oldest, fate), message = case, dying("k").received
    copy = Copy("s", "h", Received(7, message.envelope, message.body), 2)
    home = Home(4, lambda _key, _slots: 2, {2: oldest})
    cursor = [(message.envelope.channel, *stands)] if stands else [("another", "i", 9)]

    async def again(sql):
        await sql.many("new_apart_position", [("s/4@bus", 2, json.dumps(cursor))])
        return dict(await redrive_copies(sql, [copy], home, Seams().clock.now(), None))

    async with opened(tmp_path, request, dialect) as store:
        assert {fate: 1} == await store.write(again)


async def test_what_is_given_up_behind_a_dead_letter_waits_and_has_no_copy_yet(tmp_path, request):
    async with opened(tmp_path, request, "sqlite") as store:
        await after(store, dying("k"))
        assert (1, 1) == await after(store, dying("k", "m-2"))
        assert (2, 2) == await after(store, dying("another key", "m-3"))


@pytest.mark.parametrize("headers", ["nonsense", "[]", '{"a": 1}'])
def test_a_row_whose_headers_are_no_texts_is_read_with_its_problem(headers):
    row = (1, "c", "k", "t", "{}", None, "2026-01-01T00:00:00Z", "m", *[None] * 7, headers)
    assert "headers is no JSON object of texts" == received(row).problem


@pytest.mark.parametrize("colour", COLOURS)
async def test_every_form_of_handler_leaves_copies(town, colour):
    def no(said):
        if said.who == "poison":
            raise ValueError(said.who)

    service = ears()
    colour(service, no, retry=Retry(never_on=(ValueError,)))
    app = App(service, settings=town.settings())
    async with app.running():
        await app.publish(service, Said("ann"), Said("poison"), Said("bob"))
        await app.wait_idle(30)
    assert [("ann", 0), ("bob", 0)] == sorted(town.heard())
    ((key, _, headers),) = town.copies()
    assert ("poison", "on_said", "1") == (key, headers["handler"], headers["retry-count"])


async def test_a_copy_that_waits_for_the_commit_is_found_missing(tmp_path, request):
    """The planted bug: the copy is appended in a transaction of its own, which a crash prevents."""

    async def later(*_):
        return 0

    async with opened(tmp_path, request, "sqlite") as store:
        with mock.patch.object(applying, "copy_dead", later):
            assert (1, 1) != await after(store, dying("k"))


class CutOffError(Exception):
    """The process ends before the commit."""


@asynccontextmanager
async def opened(folder, request, dialect):
    if dialect == "sqlite":
        store = SqliteStore(str(folder / "s.db"), Seams())
    else:
        store = PostgresStore(request.getfixturevalue("postgres_url"), Seams(), PostgresOptions())
    try:
        await store.migrate()
        yield store
    finally:
        await store.close()


def dying(key, message_id="m-1"):
    """A message of a broker that a handler has given up."""
    item = make_item(key, message_id, Shift("s/4@bus", {}))
    item.outcome = Parked("dead", 5, 0.0, Cause("ValueError", "no\x01" + '"' * 4_000, ""))
    return item


async def after(store, item, *, is_cut_off=False):
    """How many dead rows and how many copies there are after an apply."""

    async def operation(sql):
        await applying.apply(sql, [item], (), Seams())
        if is_cut_off:
            raise CutOffError

    with suppress(CutOffError):
        await store.write(operation)
    dead = await store.read(lambda sql: sql.rows("SELECT count(*) FROM unsettled WHERE state = 'dead'"))
    copies = await store.read(
        lambda sql: sql.rows("SELECT count(*) FROM event_outbox WHERE body IS NOT NULL AND headers IS NOT NULL")
    )
    return dead[0][0], copies[0][0]
