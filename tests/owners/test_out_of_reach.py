"""A table of ours that is gone, or closed to us, under a running app: it waits, says where to look, and goes on."""

from __future__ import annotations

import pytest

from eventseam import Ctx, Retry, StorageError, SyncTx, Tx
from eventseam.ports.probe import HandlerFailed, StorageTrouble
from tests.support.postgres import heard, insert, query, unsettled
from tests.support.run import make_app, running, seen, until
from tests.support.talk import HEARD, QUICK, Said, ears, hear

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("table", ["event_outbox", "positions", "members", "processed_events"])
async def test_a_table_of_ours_that_vanishes_is_waited_for_and_named(postgres_url, table):
    service = ears()

    @service.on(Said, retry=QUICK)
    async def record(message: Said, ctx: Ctx) -> None:
        hear(ctx, message, "record")

    @service.on_tx(Said, retry=QUICK)
    async def loop(message: Said, tx: Tx) -> None:
        await tx.execute(HEARD, "loop", message.who, message.n)

    @service.on_tx(Said, retry=QUICK)
    def thread(message: Said, tx: SyncTx) -> None:
        tx.execute(HEARD, "thread", message.who, message.n)

    def troubles() -> list[str]:
        return [each.error for each in seen(app).of(StorageTrouble) if "eventseam db check" in each.error]

    async with running(postgres_url, service) as app:
        await app.publish(service, Said("k", 0))
        await app.wait_idle()
        query(postgres_url, f"ALTER TABLE {table} RENAME TO elsewhere")
        if table != "event_outbox":
            insert(postgres_url, "k", '{"who": "k", "n": 1}')
        await until(troubles)
        assert table in troubles()[0]
        query(postgres_url, f"ALTER TABLE elsewhere RENAME TO {table}")
        if table == "event_outbox":
            insert(postgres_url, "k", '{"who": "k", "n": 1}')
        await app.wait_idle()
        assert [] == seen(app).of(HandlerFailed)
    assert [[0, 1]] * 3 == [heard(postgres_url, handler) for handler in ("record", "loop", "thread")]
    assert [] == unsettled(postgres_url)


GONE = "ALTER TABLE processed_events RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO processed_events"
REFUSED = (
    (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'permission denied for event_outbox'; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON event_outbox FOR EACH ROW WHEN (NEW.aggregate_id = 'told') "
        "EXECUTE FUNCTION refuse()"
    ),
    "DROP TRIGGER refuse ON event_outbox",
)


@pytest.mark.parametrize("takes_away, gives_back", [GONE, REFUSED])
async def test_no_message_pays_for_a_table_of_ours_that_its_apply_cannot_reach(postgres_url, takes_away, gives_back):
    service, once = ears(), Retry(attempts=1)

    @service.on(Said, retry=once)
    async def record(message: Said, ctx: Ctx) -> None:
        hear(ctx, message, "record")
        if message.who != "told":
            ctx.publish(Said("told", message.n))

    @service.on_tx(Said, retry=once)
    async def loop(message: Said, tx: Tx) -> None:
        if message.who != "told":
            tx.publish(Said("told", message.n))

    @service.on_tx(Said, retry=once)
    def thread(message: Said, tx: SyncTx) -> None:
        if message.who != "told":
            tx.publish(Said("told", message.n))

    async with running(postgres_url, service) as app:
        await app.wait_idle()
        query(postgres_url, takes_away)
        insert(postgres_url, "k", '{"who": "k", "n": 1}')
        await until(lambda: len(seen(app).of(StorageTrouble)) > 9)
        query(postgres_url, gives_back)
        await app.wait_idle()
        assert [] == seen(app).of(HandlerFailed)
    assert [] == unsettled(postgres_url)
    assert [(3,)] == query(postgres_url, "SELECT count(*) FROM event_outbox WHERE aggregate_id = 'told'")


async def test_a_journal_without_its_row_is_waited_for_and_named(postgres_url):
    service = ears()

    @service.on(Said)
    async def record(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(postgres_url, service) as app:
        await app.wait_idle()
        query(postgres_url, "CREATE TABLE kept AS SELECT * FROM eventseam_journal")
        query(postgres_url, "DELETE FROM eventseam_journal")
        query(postgres_url, "UPDATE positions SET owner = NULL, rev = rev + 1")
        await until(lambda: any("eventseam_journal" in each.error for each in seen(app).of(StorageTrouble)))
        query(postgres_url, "INSERT INTO eventseam_journal SELECT * FROM kept")
        insert(postgres_url, "k", '{"who": "k", "n": 1}')
        await app.wait_idle()
    assert [1] == heard(postgres_url)


async def test_a_missing_table_is_an_error_at_the_start(postgres_url):
    async with running(postgres_url, ears()):
        pass
    query(postgres_url, "ALTER TABLE positions RENAME TO elsewhere")
    app = make_app(postgres_url, ears())
    with pytest.raises(StorageError, match=r"positions.*eventseam db check"):
        async with app.running():
            pass
