"""Trouble of the server under a running engine: a full disk, no free connection. It waits, burns nothing, goes on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
import pytest

from eventseam import Ctx, SyncTx, Tx
from eventseam.ports.probe import HandlerFailed, StorageTrouble
from eventseam.testing.servers import postgres
from tests.support.postgres import connect, connected, heard, query, script, unsettled
from tests.support.run import running, seen, until
from tests.support.talk import COLOURS, HEARD, QUICK, Said, ears, hear

pytestmark = pytest.mark.timeout(60)

FULL_DISK = """
CREATE TABLE full_disk ();
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass('full_disk') IS NOT NULL THEN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER disk BEFORE INSERT ON heard FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER disk BEFORE INSERT ON unsettled FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("declare", COLOURS)
async def test_a_full_disk_is_waited_out_without_burning_an_attempt(postgres_url, declare):
    service = ears()
    declare(service, lambda message: None, retry=QUICK)
    async with running(postgres_url, service) as app:
        await app.wait_idle()
        script(postgres_url, FULL_DISK)
        await app.publish(service, *[Said(f"k{n % 3}", n) for n in range(9)])
        await until(lambda: len(seen(app).of(StorageTrouble)) > 2)
        query(postgres_url, "DROP TABLE full_disk")
        await app.wait_idle()
        assert "free some space" in seen(app).of(StorageTrouble)[0].error
        assert [] == seen(app).of(HandlerFailed)
    assert list(range(9)) == sorted(heard(postgres_url))
    assert [] == unsettled(postgres_url)


def _all_connections(url: str) -> list[psycopg.Connection[Any]]:
    """Every connection that there is left."""
    found = []
    with suppress(psycopg.OperationalError):
        while True:
            found.append(connect(url, "hog"))
    return found


async def test_a_server_without_a_free_connection_is_waited_for_and_named():
    """Each form of handler needs connections of its own, some of them only when its first message comes."""
    service = ears()

    @service.on(Said)
    async def record(message: Said, ctx: Ctx) -> None:
        hear(ctx, message, "record")

    @service.on_tx(Said, retry=QUICK)
    async def loop(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "loop", message.who, message.n)

    @service.on_tx(Said, retry=QUICK)
    def thread(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "thread", message.who, message.n)

    settings = {"max_connections": 24, "superuser_reserved_connections": 3}
    with postgres(settings=settings) as server:
        admin = server.url
        query(admin, "CREATE ROLE guest LOGIN SUPERUSER PASSWORD 'guest'")
        query(admin, "ALTER ROLE guest NOSUPERUSER")
        query(admin, "GRANT ALL ON SCHEMA public TO guest")
        query(admin, "GRANT EXECUTE ON FUNCTION pg_control_system() TO guest")
        url = admin.replace(admin.split("//")[1].split("@")[0], "guest:guest")
        async with running(url, service) as app:
            await app.wait_idle()
            hogs = _all_connections(url)
            query(
                admin,
                "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
                """SELECT 'talk', 'k' || n, 'talk.said', jsonb_build_object('who', 'k' || n, 'n', n) """
                "FROM generate_series(0, 19) n",
            )
            await until(lambda: any("Raise max_connections" in each.error for each in seen(app).of(StorageTrouble)))
            for hog in hogs:
                hog.close()
            await until(lambda: "hog" not in connected(admin))
            await app.wait_idle()
            assert [] == seen(app).of(HandlerFailed)
        for handler in ("record", "loop", "thread"):
            assert list(range(20)) == sorted(heard(admin, handler))
