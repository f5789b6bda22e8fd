"""Publishing on a user's own connection: refused wherever the event could be lost or fail at random."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from eventseam import Channel, NotInTransaction, Service
from tests.support.file import connect, query
from tests.support.run import running

if TYPE_CHECKING:
    from pathlib import Path

word = Channel("word", key="who")


@word.event("word.said")
class Said(Struct, frozen=True):
    who: str


shop = Service("shop", tables="CREATE TABLE IF NOT EXISTS orders (id TEXT)")


async def _database(path: Path) -> Path:
    async with running(path, shop):
        return path


async def test_ids_of_one_service_are_different_and_lie_in_the_journal(tmp_path):
    path = await _database(tmp_path / "db")
    with closing(connect(path)) as own:
        own.execute("BEGIN IMMEDIATE")
        ids = [shop.publish(own, Said("ann")) for _ in range(600)]
        own.execute("COMMIT")
    assert 600 == len(set(ids))
    assert [(each,) for each in ids] == query(path, "SELECT message_id FROM event_outbox ORDER BY id")


@pytest.mark.parametrize(
    "begin",
    [
        ["BEGIN IMMEDIATE"],
        ["BEGIN", "INSERT INTO orders VALUES ('o1')"],
        ["BEGIN", "SELECT 1 FROM orders", "INSERT INTO orders VALUES ('o1')", "SAVEPOINT a"],
        ["BEGIN IMMEDIATE", "SAVEPOINT a", "INSERT INTO orders VALUES ('o1')", "ROLLBACK TO a"],
    ],
)
async def test_a_transaction_that_holds_the_write_lock_may_publish(tmp_path, begin):
    path = await _database(tmp_path / "db")
    with closing(connect(path)) as own:
        for each in begin:
            own.execute(each)
        shop.publish(own, Said("ann"))
        own.execute("COMMIT")
    assert [("ann",)] == query(path, "SELECT aggregate_id FROM event_outbox")


@pytest.mark.parametrize("level", [None, ""])
@pytest.mark.parametrize("begin", [["BEGIN"], ["BEGIN", "SELECT 1 FROM orders"]])
async def test_a_deferred_transaction_may_not_publish_before_it_wrote(tmp_path, begin, level):
    path = await _database(tmp_path / "db")
    with closing(connect(path)) as own:
        own.isolation_level = level
        for each in begin:
            own.execute(each).fetchall()
        with pytest.raises(NotInTransaction, match="began deferred"):
            shop.publish(own, Said("ann"))
        assert own.in_transaction
        own.execute("ROLLBACK")


async def test_a_deferred_transaction_is_refused_as_such_while_somebody_else_writes(tmp_path):
    path = await _database(tmp_path / "db")
    with closing(connect(path)) as own, closing(connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        own.execute("BEGIN")
        own.execute("SELECT 1 FROM orders").fetchall()
        with pytest.raises(NotInTransaction, match="began deferred: as soon as"):
            shop.publish(own, Said("ann"))
        own.execute("ROLLBACK")
        other.execute("ROLLBACK")


async def test_a_connection_that_begins_by_itself_begins_with_the_event(tmp_path):
    path = await _database(tmp_path / "db")
    with closing(connect(path)) as own:
        own.isolation_level = ""
        shop.publish(own, Said("ann"))
        assert own.in_transaction
        own.rollback()
    assert [] == query(path, "SELECT 1 FROM event_outbox")
