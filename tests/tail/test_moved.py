"""A journal in another place: a standby, a promoted standby, a dump that is restored into another cluster."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from eventseam import Seams
from eventseam.errors import StorageError, StorageUnavailable
from eventseam.journal.rebase import rebase
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from eventseam.testing.servers import PostgresServer, StartedPostgres, postgres
from tests.support.postgres import query
from tests.tail.rig import Reader, Scene, audit, scene_at
from tests.tail.scenarios import loaded

pytestmark = pytest.mark.timeout(120)


def program(server: StartedPostgres, name: str, *arguments: str | Path, text: str | None = None) -> str:
    """Run a program of the server's own version; what it prints."""
    password = unquote(urlsplit(server.url).password or "")
    command = [server.binaries / name, *arguments]
    environment = {**os.environ, "PGPASSWORD": password, "LC_ALL": "C"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


@contextmanager
def standby_of(primary: StartedPostgres) -> Iterator[StartedPostgres]:
    """A streaming copy of a server, which anybody may promote."""
    folder = Path(tempfile.mkdtemp(prefix="eventseam-standby-"))
    try:
        url = primary.url.replace(f":{unquote(urlsplit(primary.url).password or '')}@", "@")
        program(primary, "pg_basebackup", "-d", url, "-D", folder / "data", "-R", "-X", "stream", "--checkpoint=fast")
        conf = folder / "data" / "postgresql.auto.conf"
        password = unquote(urlsplit(primary.url).password or "")
        conf.write_text(conf.read_text().replace("user=postgres", f"user=postgres password={password}", 1))
        (folder / "password").write_text(password)
        owner = primary.data.stat()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        with postgres(settings={"hot_standby": "on"}, folder=folder, binaries=primary.binaries) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - it looks at a server
            await asyncio.sleep(0.05)


async def test_a_standby_is_refused_and_once_promoted_delivers_all_that_it_has():
    with postgres(settings={"fsync": "off"}) as primary:
        url = primary.database("moved")
        async with scene_at(url) as scene:
            with standby_of(primary) as standby:
                there = standby.url_of("moved")
                await _read_and_write_on(scene)
                await until(lambda: query(there, "SELECT count(*) FROM event_outbox") == [(30,)])
                behind = Reader(PostgresStore(there, Seams()))
                with pytest.raises(StorageUnavailable, match="a standby: its snapshots do not list what is running"):
                    await behind.load()
                primary.kill()
                query(standby.url, "SELECT pg_promote()")
                bulk(there, 40)
                await behind.load()
                await behind.drain(7)
                await behind.store.close()
                audit(there)
                assert [(70,)] == query(there, "SELECT count(*) FROM seen")


async def _read_and_write_on(scene: Scene) -> None:
    """A reader is in the middle of a difference of 20 rows, and 10 more come."""
    writer = scene.writer()
    scene.append(writer, rows=20)
    reader = await loaded(scene, Reader)
    await reader.step(7)
    scene.append(writer, "b", rows=10)


def bulk(url: str, rows: int) -> None:
    """Append rows of seven keys, in one statement."""
    text = (
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
        "SELECT 'ledger', 'n' || n %% 7, 'told', jsonb_build_object('n', n) FROM generate_series(1, %s) n"
    )
    query(url, text, rows)


def copied(source: StartedPostgres, url: str, target: StartedPostgres) -> str:
    """Dump a database, restore it into another cluster, and return its URL there."""
    name = urlsplit(url).path[1:]
    dump = program(source, "pg_dump", "--dbname", url)
    moved = target.database(name)
    program(target, "psql", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", moved, text=dump)
    return moved


def catches_up(url: str, numbers: int) -> None:
    """Give transaction numbers out until they are those of old rows."""
    query(url, f"DO $$ BEGIN FOR i IN 1..{numbers} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")


@pytest.fixture(scope="module")
def two_servers() -> Iterator[Sequence[StartedPostgres]]:
    with postgres(settings={"fsync": "off"}) as one, postgres(settings={"fsync": "off"}) as other:
        catches_up(one.url, 900)
        yield one, other


async def test_a_restored_journal_is_refused_until_it_is_rebased_and_then_gives_each_row_once(two_servers):
    """The reader was at 600 of a difference of 1,000 rows, and one with a passed position was committed after it."""
    here, there = two_servers
    async with scene_at(here.database("restored")) as scene:
        late = scene.writer()
        late.execute("BEGIN")
        scene.append(late, "late")
        bulk(scene.url, 999)
        reader = await loaded(scene, Reader)
        reader.source._size.fit(0, 1_000)
        for _ in range(6):
            assert 100 == len(await reader.step(100))
        late.execute("COMMIT")
        bulk(scene.url, 400)
        moved = copied(here, scene.url, there)
    await _is_refused(moved)
    store = PostgresStore(moved, Seams(), PostgresOptions(checks_cluster=False))
    done = await store.write(rebase)
    await store.close()
    assert (2, ("reader",)) == (done.era, done.readers)
    assert _cluster(here) == done.cluster_before
    assert _cluster(there) == done.cluster
    await _reads_on(moved, 50)
    assert [(1_450,)] == query(moved, "SELECT count(*) FROM seen")


async def test_an_idle_readers_journal_is_moved_there_and_back_again(two_servers):
    here, there = two_servers
    async with scene_at(here.database("thither")) as scene:
        bulk(scene.url, 200)
        await (await loaded(scene, Reader)).drain()
        url = scene.url
    for source, target, era in ((here, there, 2), (there, here, 3)):
        if target is here:
            here.drop("thither")
        url = copied(source, url, target)
        store = PostgresStore(url, Seams(), PostgresOptions(checks_cluster=False))
        assert era == (await store.write(rebase)).era
        await store.close()
        await _reads_on(url, 30)
    assert [(1, 200), (2, 30), (3, 30)] == query(url, "SELECT era, count(*) FROM event_outbox GROUP BY 1 ORDER BY 1")


async def test_a_rebase_waits_for_whoever_is_appending(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        writer.execute("BEGIN")
        scene.append(writer)
        begins = asyncio.create_task(scene.store.write(rebase))
        await until(lambda: query(postgres_url, "SELECT 1 FROM pg_locks WHERE NOT granted"))
        scene.append(writer, "b")
        writer.execute("COMMIT")
        assert 2 == (await begins).era
        scene.append(writer, "c")
        assert [(1, 2), (2, 1)] == query(postgres_url, "SELECT era, count(*) FROM event_outbox GROUP BY 1 ORDER BY 1")
        await reader.load()
        assert [1, 2, 3] == sorted(await reader.drain())


async def test_a_writer_that_began_before_a_rebase_appends_in_the_new_era(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        scene.append(writer, rows=8)  # often enough for a plan that is kept
        reader = await loaded(scene, Reader)
        writer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        writer.execute("SELECT pg_current_xact_id()")
        await scene.store.write(rebase)
        scene.append(writer, "b")
        scene.append(scene.writer(), "c")
        await reader.load()
        await reader.drain()
        writer.execute("COMMIT")
        await reader.drain()
        audit(postgres_url)


async def test_a_reader_that_runs_during_a_rebase_is_fenced_and_goes_on(postgres_url):
    async with scene_at(postgres_url) as scene:
        writer = scene.writer()
        reader = await loaded(scene, Reader)
        scene.append(writer, rows=5)
        await reader.step(2)
        await scene.store.write(rebase)
        scene.append(writer, rows=5)
        await reader.drain(2)
        assert 2 == reader.loads
        audit(postgres_url)


def _cluster(server: PostgresServer) -> str:
    return query(server.url, "SELECT system_identifier::text FROM pg_control_system()")[0][0]


async def _is_refused(url: str) -> None:
    store = PostgresStore(url, Seams())
    with pytest.raises(StorageError, match="eventseam journal rebase"):
        await Reader(store).load()
    await store.close()


async def _reads_on(url: str, rows: int) -> None:
    """New rows come, and a reader that loads its cursor reads each row that it had not read once."""
    store = PostgresStore(url, Seams())
    bulk(url, rows)
    reader = Reader(store)
    await reader.load()
    await reader.drain(100)
    await store.close()
    audit(url)
