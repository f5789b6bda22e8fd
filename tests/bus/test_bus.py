"""Services with databases of their own meet in a bus database: every event once, in order, whatever is down."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from msgspec import Struct

from eventseam import App, Channel, Ctx, Seams, Service, Settings, WiringError
from eventseam.delivery.committer import Surroundings
from eventseam.delivery.options import EngineOptions
from eventseam.delivery.relay import Relay
from eventseam.errors import OutcomeUnknown, StorageUnavailable
from eventseam.journal.snapshot import SnapshotSource
from eventseam.journal.source import Hint
from eventseam.ports.probe import HandlerFailed
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from tests.support.postgres import query
from tests.support.proxy import Proxy
from tests.support.run import Seen

talk = Channel("talk", key="who")
answer = Channel("answer", key="who")
thought = Channel("thought", key="who", internal=True)


@talk.event("said")
class Said(Struct, frozen=True):
    who: str
    n: int


@answer.event("answered")
class Answered(Struct, frozen=True):
    who: str
    n: int


@thought.event("mulled")
class Mulled(Struct, frozen=True):
    who: str
    n: int


def mouth_and_ears() -> tuple[Service[object], Service[object]]:
    """Ears answer what they hear, after a thought of their own; the mouth keeps the answers."""
    mouth: Service[object] = Service("mouth", tables="CREATE TABLE IF NOT EXISTS got (at bigserial, who text, n int)")
    ears: Service[object] = Service("ears", tables="CREATE TABLE IF NOT EXISTS heard (at bigserial, who text, n int)")

    @ears.on(Said)
    async def hear(event: Said, ctx: Ctx) -> None:
        ctx.write("INSERT INTO heard (who, n) VALUES ($1, $2)", event.who, event.n)
        ctx.publish(Mulled(event.who, event.n))

    @ears.on(Mulled)
    async def reply(event: Mulled, ctx: Ctx) -> None:
        ctx.publish(Answered(event.who, event.n))

    @mouth.on(Answered)
    async def get(event: Answered, ctx: Ctx) -> None:
        ctx.write("INSERT INTO got (who, n) VALUES ($1, $2)", event.who, event.n)

    return mouth, ears


def app_on(database: str, bus: str) -> App:
    return App(*mouth_and_ears(), settings=Settings(database=database, transport=bus))


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it looks at a database
            await asyncio.sleep(0.02)


@pytest.fixture
def databases(postgres_server):
    """The mouth's database, the ears' and the bus."""
    names = [f"bus_{Seams().ids.new().replace('-', '')}_{n}" for n in range(3)]
    yield [postgres_server.database(name) for name in names]
    for name in names:
        postgres_server.drop(name)


async def test_events_go_round_by_the_bus_once_and_in_the_order_of_their_keys(databases):
    a, b, bus = databases
    one, two = app_on(a, bus), app_on(b, bus)
    events = [Said(f"k{n % 7}", n) for n in range(300)]
    async with one.running(only=["mouth"]), two.running(only=["ears"]):
        await one.publish(one.services[0], *events)
        await until(lambda: query(a, "SELECT count(*) FROM got")[0][0] >= 300)
        await one.wait_idle()
        await two.wait_idle()
    for key in range(7):
        expected = [event.n for event in events if event.who == f"k{key}"]
        assert expected == [row[0] for row in query(a, f"SELECT n FROM got WHERE who = 'k{key}' ORDER BY at")]


async def test_a_domain_event_never_reaches_the_bus(databases):
    a, b, bus = databases
    two = app_on(b, bus)
    async with app_on(a, bus).running(only=["mouth"]), two.running(only=["ears"]):
        await two.publish(two.services[1], Said("k", 1))
        await until(lambda: query(a, "SELECT 1 FROM got"))
    assert [("answer",), ("talk",)] == query(bus, "SELECT DISTINCT aggregate_type FROM event_outbox ORDER BY 1")


async def test_what_the_bus_hands_out_again_after_a_crash_is_absorbed(databases):
    a, b, bus = databases
    one = app_on(a, bus)
    async with one.running(only=["mouth"]), app_on(b, bus).running(only=["ears"]):
        await one.publish(one.services[0], *[Said("k", n) for n in range(20)])
        await until(lambda: query(a, "SELECT count(*) FROM got")[0][0] >= 20)
    await _run(bus, "UPDATE positions SET s0 = '1:1:'")
    again = app_on(a, bus)
    async with again.running(only=["mouth"]):
        await again.wait_idle()
    assert list(range(20)) == [row[0] for row in query(a, "SELECT n FROM got ORDER BY at")]


async def test_a_bus_that_is_down_grows_the_journal_and_nothing_else(databases, postgres_server):
    a, b, bus = databases
    with Proxy(postgres_server.port) as way:
        one = app_on(a, way.url(bus))
        async with one.running(only=["mouth"]), app_on(b, bus).running(only=["ears"]):
            way.refuse()
            await one.publish(one.services[0], *[Said("k", n) for n in range(20)])
            await asyncio.sleep(0.3)
            found = query(a, "SELECT (SELECT count(*) FROM event_outbox), (SELECT count(*) FROM unsettled)")
            assert [(20, 0)] == found
            way.heal()
            await until(lambda: query(a, "SELECT count(*) FROM got")[0][0] >= 20)
    assert list(range(20)) == [row[0] for row in query(a, "SELECT n FROM got ORDER BY at")]


def test_a_handler_of_internal_and_public_channels_is_refused_where_they_have_no_common_order(databases):
    both: Service[object] = Service("both")

    @both.on(Said, Mulled)
    async def listen(event: Said | Mulled) -> None: ...

    async def start():
        async with App(both, settings=Settings(database=databases[0], transport=databases[2])).running():
            pass

    with pytest.raises(WiringError, match=r"both\.listen takes messages of internal and of public channels"):
        asyncio.run(start())


# ------------------------------------------------------------------------------------------------ the relay alone


class Scripted:
    """A sink that does what it is told, batch by batch, and remembers what landed."""

    def __init__(self, *script):
        self.script = list(script)
        self.batches: list[list[str]] = []

    async def publish(self, batch):
        error = self.script.pop(0) if self.script else None
        if isinstance(error, StorageUnavailable):
            raise error
        if callable(error):
            await error(batch)
            error = None
        self.batches.append([message.body for message in batch])
        if error is not None:
            raise error


class Relayed:
    """A relay from a database to a scripted sink, for as long as the block runs."""

    def __init__(self, url, sink, source=SnapshotSource, page_max=500):
        """Its own commits do not wait for the disk, unless it says so."""
        self.store = PostgresStore(url, Seams(), PostgresOptions(durability="normal"))
        self.seen = Seen()
        around = Surroundings(self.store, Seams(), self.seen, lambda: None)
        self.source = source(self.store, Hint())
        self.relay = Relay("relay", self.source, sink, around, EngineOptions(page_max=page_max))

    async def __aenter__(self):
        await self.store.migrate()
        slots = [("relay", slot) for slot in range(16)]
        await self.store.write(lambda sql: sql.many("new_position", slots))
        self.task = asyncio.create_task(self.relay.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.store.close()


async def _run(url, *statements):
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


INSERT = (
    "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
    "SELECT 'talk', 'k', 'said', to_jsonb(n) FROM generate_series({}, {}) n"
)


async def test_a_batch_of_unknown_outcome_is_published_again_before_any_later_one(postgres_url):
    sink = Scripted(OutcomeUnknown("who knows"), StorageUnavailable("down"))
    async with Relayed(postgres_url, sink):
        await _run(postgres_url, INSERT.format(1, 3))
        await until(lambda: len(sink.batches) >= 2)
        await _run(postgres_url, INSERT.format(4, 4))
        await until(lambda: len(sink.batches) >= 3)
    assert [["1", "2", "3"], ["1", "2", "3"], ["4"]] == sink.batches


async def test_a_message_that_the_sink_does_not_take_becomes_a_dead_letter_and_the_others_go_on(postgres_url):
    async def only_small(batch):
        if any(message.body == "2" for message in batch):
            raise ValueError("two is too many")

    sink = Scripted(*[only_small] * 9)
    async with Relayed(postgres_url, sink):
        await _run(postgres_url, INSERT.format(1, 3))
        await until(lambda: len(sink.batches) >= 2)
    assert [["1"], ["3"]] == sink.batches
    rows = query(
        postgres_url, "SELECT service, handler, state, convert_from(body, 'UTF8'), error_message FROM unsettled"
    )
    assert [("relay", "relay", "dead", "2", "two is too many")] == rows


async def test_a_message_of_a_time_that_nobody_can_hold_is_kept_here_and_the_others_go_on(postgres_url):
    sink = Scripted()
    async with Relayed(postgres_url, sink) as relayed:
        await _run(
            postgres_url,
            INSERT.format(1, 1).replace("(", "(created_at, ", 1).replace("'talk'", "'20000-01-01', 'talk'"),
        )
        await _run(postgres_url, INSERT.format(2, 2))
        await until(lambda: sink.batches)
    assert [["2"]] == sink.batches
    (told,) = relayed.seen.of(HandlerFailed)
    assert ("relay", "k", "dead") == (told.handler, told.key, told.next_step)
    rows = query(postgres_url, "SELECT handler, state, convert_from(body, 'UTF8'), error_class FROM unsettled")
    assert [("relay", "dead", "1", "Undecodable")] == rows


async def test_nothing_is_published_that_a_crash_of_the_server_could_take_back(postgres_url):
    """A writer that does not wait for the disk: its row is visible before it is durable."""
    lag: list[bool] = []

    async def look(_batch):
        connection = await asyncpg.connect(postgres_url)
        lag.append(await connection.fetchval("SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn", at[0]))
        await connection.close()

    sink, at = Scripted(*[look] * 50), [""]
    async with Relayed(postgres_url, sink):
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("SET synchronous_commit = off")
        for n in range(20):
            await connection.execute(INSERT.format(n, n))
            at[0] = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")
            await until(lambda n=n: len(sink.batches) > n)
        await connection.close()
    assert [True] * 20 == lag


async def test_a_relay_that_stops_goes_on_where_it_was(postgres_url):
    sink = Scripted()
    async with Relayed(postgres_url, sink):
        await _run(postgres_url, INSERT.format(1, 3))
        await until(lambda: sink.batches)
        await until(lambda: query(postgres_url, "SELECT bool_and(s0::text <> '1:1:') FROM positions")[0][0])
    async with Relayed(postgres_url, sink):
        await _run(postgres_url, INSERT.format(4, 4))
        await until(lambda: len(sink.batches) > 1)
    assert [["1", "2", "3"], ["4"]] == sink.batches


async def test_a_bus_that_refuses_everything_makes_no_dead_letters(databases):
    a, b, bus = databases
    one = app_on(a, bus)
    async with one.running(only=["mouth"]), app_on(b, bus).running(only=["ears"]):
        await _run(
            bus,
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE insufficient_privilege USING MESSAGE = 'not you'; END $$",
            "CREATE TRIGGER no BEFORE INSERT ON event_outbox EXECUTE FUNCTION no()",
        )
        await one.publish(one.services[0], *[Said("k", n) for n in range(5)])
        await asyncio.sleep(0.3)
        assert [(0,)] == query(a, "SELECT count(*) FROM unsettled")
        await _run(bus, "DROP TRIGGER no ON event_outbox")
        await until(lambda: query(a, "SELECT count(*) FROM got")[0][0] >= 5)
    assert list(range(5)) == [row[0] for row in query(a, "SELECT n FROM got ORDER BY at")]
