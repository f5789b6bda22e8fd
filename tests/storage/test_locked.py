"""Nobody ever meets `database is locked`: publishers in threads and in another process, while the engine drains."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

from eventseam import Ctx
from tests.support.file import connect, heard, query
from tests.support.run import running, until
from tests.support.spawn import foreign_program
from tests.support.talk import Said, ears, hear

EACH = 150

PUBLISH = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)
for n in range(int(sys.argv[3])):
    db.execute("BEGIN IMMEDIATE")
    db.execute("SELECT count(*) FROM heard").fetchone()
    db.execute("INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('talk', ?, ?, ?)",
               (sys.argv[2], "talk.said", '{"who": "%s", "n": %d}' % (sys.argv[2], n)))
    db.execute("COMMIT")
    time.sleep(0.001)
"""


def _publish(path, who, errors):
    try:
        with closing(connect(path)) as connection:
            for n in range(EACH):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(
                    "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
                    "VALUES ('talk', ?, 'talk.said', ?)",
                    (who, f'{{"who":"{who}","n":{n}}}'),
                )
                connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        errors.append(error)


async def test_publishers_in_threads_and_in_another_process_never_meet_a_locked_database(tmp_path):
    path, service, errors = tmp_path / "db", ears(), []

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(path, service) as app:
        await app.wait_idle()
        threads = [threading.Thread(target=_publish, args=(path, f"thread{n}", errors)) for n in range(4)]
        for thread in threads:
            thread.start()
        other = asyncio.ensure_future(asyncio.to_thread(foreign_program, PUBLISH, str(path), "process", str(EACH)))
        await app.publish(service, *[Said("app", n) for n in range(EACH)])
        assert "" == await other
        await until(lambda: not any(thread.is_alive() for thread in threads))
        await app.wait_idle()
    assert [] == errors
    for who in ("app", "process", *(f"thread{n}" for n in range(4))):
        assert list(range(EACH)) == heard(path, who=who)
    assert [(6 * EACH, 6 * EACH)] == query(path, "SELECT count(*), count(DISTINCT event_id) FROM processed_events")


async def test_a_reader_that_stays_open_for_long_holds_up_nobody(tmp_path):
    path, service = tmp_path / "db", ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(path, service) as app:
        with closing(connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event_outbox").fetchone()
            await app.publish(service, *[Said("ann", n) for n in range(50)])
            await app.wait_idle()
            assert (0,) == reader.execute("SELECT count(*) FROM heard").fetchone()
    assert list(range(50)) == heard(path)


async def test_code_on_the_loop_that_writes_on_its_own_connection_never_meets_a_locked_database(tmp_path):
    path, service = tmp_path / "db", ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(path, service) as app:
        await app.publish(service, *[Said(f"k{n % 50}", n) for n in range(2_000)])
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA busy_timeout = 1000")
            for n in range(300):
                connection.execute("BEGIN IMMEDIATE")
                service.publish(connection, Said("own", n))
                connection.execute("COMMIT")
                await asyncio.sleep(0)
        await app.wait_idle()
    assert list(range(300)) == heard(path, who="own")
    assert 2_300 == query(path, "SELECT count(*) FROM heard")[0][0]
