"""What must hold on PostgreSQL, as scenarios: the first word of their AssertionError is the finding."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

from msgspec import Struct

from eventseam import App, Channel, Circuit, Ctx, Retry, Seams, Service, Settings
from eventseam.errors import CursorLost, OutcomeUnknown, StorageUnavailable
from eventseam.journal.bus import BusMemory
from eventseam.journal.snapshot import SnapshotSource
from eventseam.journal.source import Hint
from eventseam.ports.probe import OwnershipChanged
from eventseam.storage.postgres import PostgresStore
from tests.bus.test_bus import INSERT, Relayed, Scripted, _run, until
from tests.support.postgres import query
from tests.support.run import Seen
from tests.teeth_postgres import plants

ROOT = Path(__file__).parents[2]
talk = Channel("talk", key="who")
QUICK = Retry(attempts=9, first_seconds=0.02, max_seconds=0.05, jitter=0.0)
TABLES = "CREATE TABLE IF NOT EXISTS seen (at bigserial, who text, n int)"


@talk.event("said")
class Said(Struct, frozen=True):
    who: str
    n: int


def listener(react=None) -> Service[object]:
    """A service that writes down what it is told, after `react`."""
    service: Service[object] = Service("ears", tables=TABLES)

    @service.on(Said, retry=QUICK, circuit=Circuit(failures=1_000_000))
    async def hear(event: Said, ctx: Ctx) -> None:
        if react is not None:
            await react(event, ctx)
        ctx.write("INSERT INTO seen (who, n) VALUES ($1, $2)", event.who, event.n)

    return service


def app_on(url: str, react=None, **changes) -> App:
    return App(listener(react), settings=Settings(database=url, grace_seconds=0.5, **changes), probe=Seen())


def check(url: str, expected: list[tuple[str, int]]) -> None:
    """Every message once, those of a key in order."""
    found = query(url, "SELECT who, n FROM seen ORDER BY at")
    doubled, lost = Counter(found) - Counter(expected), Counter(expected) - Counter(found)
    assert not doubled, f"doubled: {sorted(doubled)}"
    assert not lost, f"lost: {sorted(lost)}"


async def a_relay_that_crashes_loses_nothing(url: str, _bus: str) -> None:
    inside = asyncio.Event()

    async def die(_batch) -> None:
        inside.set()
        await asyncio.Event().wait()

    sink = Scripted(die)
    async with Relayed(url, sink):
        await _run(url, INSERT.format(1, 3))
        await asyncio.wait_for(inside.wait(), 10)
    async with Relayed(url, sink):
        await _run(url, INSERT.format(4, 4))
        await until(lambda: any("4" in batch for batch in sink.batches))
    assert {"1", "2", "3", "4"} == {each for batch in sink.batches for each in batch}, f"lost: {sink.batches}"


async def an_unknown_outcome_holds_up_what_is_later(url: str, _bus: str) -> None:
    async def vanish(_batch) -> None:
        await _run(url, INSERT.format(4, 4))
        raise OutcomeUnknown("it did not land")

    sink = Scripted(vanish)
    async with Relayed(url, sink):
        await _run(url, INSERT.format(1, 3))
        await until(lambda: {"1", "4"} <= {each for batch in sink.batches for each in batch})
    landed = list(dict.fromkeys(each for batch in sink.batches for each in batch))
    assert ["1", "2", "3", "4"] == landed, f"out of order: {landed}"


async def what_is_published_is_durable(url: str, _bus: str) -> None:
    at, lag = [""], []

    async def look(_batch) -> None:
        flushed = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"
        lag.append((await asyncio.to_thread(query, url, flushed, at[0]))[0][0])

    sink = Scripted(*[look] * 50)
    async with Relayed(url, sink):
        connection = await careless(url)
        for n in range(10):
            await connection.execute(INSERT.format(n, n))
            at[0] = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")
            await until(lambda n=n: len(sink.batches) > n)
        await connection.close()
    assert all(lag), f"not durable: {lag}"


async def careless(url: str):
    """A foreign program that does not wait for the disk."""
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off")
    return connection


async def a_reader_of_the_bus_that_crashes_loses_nothing(url: str, bus: str) -> None:
    """It dies, in a process of its own, in the commit of its effects."""
    planted = [name for name in dir(plants) if getattr(plants, name) is plants_in_use.get("now")]
    command = [sys.executable, "-m", "tests.teeth_postgres", url, bus, *planted]
    dead = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert dead.returncode == 77, dead.stderr
    app = App(listener(), settings=Settings(database=url, transport=bus))
    async with app.running():
        await app.publish(app.services[0], Said("k", 2))
        await until(lambda: query(url, "SELECT 1 FROM seen WHERE n = 2"))
        await app.wait_idle()
    check(url, [("k", 1), ("k", 2)])


plants_in_use: dict[str, object] = {}


async def a_zombie_leaves_the_cursors_on_the_bus_alone(_url: str, bus: str) -> None:
    store = PostgresStore(bus, Seams())
    await store.migrate()
    await store.write(lambda sql: sql.many("new_position", [("ears", 0)]))
    old, new = BusMemory(store, "ears"), BusMemory(store, "ears")
    await old.load({0: 5})
    await new.load({0: 6})
    await new.save([(0, 6, (1, "9:9:", None, None, None))])
    await old.save([(0, 5, (1, "7:7:", None, None, None))])
    kept = query(bus, "SELECT s0::text FROM positions WHERE reader = 'ears'")
    await store.close()
    assert [("9:9:",)] == kept, f"moved: by an owner that is no more, to {kept}"


async def a_cursor_is_not_used_on_another_connection(url: str, _bus: str) -> None:
    store = PostgresStore(url, Seams())
    await store.migrate()
    source = SnapshotSource(store, Hint())
    await source.prepare()
    start = {0: (1, "1:1:", None, None, None)}
    await source.fetch(start, ["talk"], 10)
    await store._asker.raw.close()
    found: object = "nothing"
    for _ in range(3):
        try:
            await source.fetch(start, ["talk"], 10)
        except (CursorLost, StorageUnavailable) as error:
            found = error
    await store.close()
    assert isinstance(found, CursorLost), f"kept: {found!r}"


async def a_zombie_applies_nothing(url: str, _bus: str) -> None:
    """An owner whose slots were taken while its handler ran wakes when another has done its work."""
    inside, awake = asyncio.Event(), asyncio.Event()

    async def hang(event: Said, _ctx: Ctx) -> None:
        if event.n == 2:
            inside.set()
            await awake.wait()

    one, two = app_on(url, hang, lease_seconds=60.0), app_on(url, lease_seconds=60.0)
    async with one.running():
        await one.publish(one.services[0], Said("k", 1), Said("k", 2))
        await asyncio.wait_for(inside.wait(), 10)
        await asyncio.to_thread(
            query, url, "WITH gone AS (DELETE FROM members) UPDATE positions SET lease_until = '-infinity'"
        )
        async with two.running():
            await until(lambda: query(url, "SELECT 1 FROM seen WHERE n = 2"))
            awake.set()
            await asyncio.sleep(0.3)
    check(url, [("k", 1), ("k", 2)])


async def a_zombie_with_the_inbox_off_applies_nothing(url: str, bus: str) -> None:
    with plants.inbox_off():
        await a_zombie_applies_nothing(url, bus)


async def a_zombie_with_the_fence_off_applies_nothing(url: str, bus: str) -> None:
    with plants.fence_off():
        await a_zombie_applies_nothing(url, bus)


async def a_slot_is_drained_before_it_is_given_back(url: str, _bus: str) -> None:
    """A handler that runs while its slot is due to go finishes, and nobody else runs it meanwhile."""
    running: Counter[Said] = Counter()
    crowded: list[Said] = []

    async def work(event: Said, _ctx: Ctx) -> None:
        running[event] += 1
        if running[event] > 1:
            crowded.append(event)
        await asyncio.sleep(0.3)
        running[event] -= 1

    one, two = app_on(url, work, lease_seconds=3.0), app_on(url, work, lease_seconds=3.0)
    said = [Said(f"k{key}", 1) for key in range(150)]
    try:
        async with one.running():
            await until(lambda: _owned(one) == 16)
            async with two.running():
                for start in range(0, len(said), 3):
                    await one.publish(one.services[0], *said[start : start + 3])
                    await asyncio.sleep(0.05)
                await until(lambda: query(url, "SELECT count(*) FROM seen")[0][0] >= len(said), 5)
    except Exception as error:
        raise AssertionError(f"crowded: {error!r}") from error
    assert not crowded, f"crowded: {crowded[:3]}"
    check(url, [(each.who, each.n) for each in said])


async def only_its_owner_tries_a_parked_message_again(url: str, _bus: str) -> None:
    running: Counter[Said] = Counter()
    crowded: list[Said] = []

    async def fail(event: Said, ctx: Ctx) -> None:
        running[event] += 1
        if running[event] > 1:
            crowded.append(event)
        await asyncio.sleep(0.05)
        running[event] -= 1
        if ctx.attempt < 4:
            raise ConnectionError("not yet")

    one, two = app_on(url, fail, lease_seconds=1.0), app_on(url, fail, lease_seconds=1.0)
    said = [Said(f"k{key}", 1) for key in range(40)]
    async with one.running(), two.running():
        await until(lambda: _owned(one) == _owned(two) == 8)
        await one.publish(one.services[0], *said)
        await until(lambda: crowded or query(url, "SELECT count(*) FROM seen")[0][0] >= len(said))
    assert not crowded, f"crowded: {crowded[:3]}"
    check(url, [(each.who, each.n) for each in said])


def _owned(app: App) -> int:
    told = app.probe.of(OwnershipChanged)
    return len(told[-1].slots) if told and told[-1].state == "owned" else 0
