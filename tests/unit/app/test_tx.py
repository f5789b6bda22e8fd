"""Transactions of handlers, in both colours, over a real database."""

from __future__ import annotations

import pytest

from eventseam.app.handlers import Bench
from eventseam.app.runners import finish
from eventseam.app.service import Service
from eventseam.app.tx import SyncTx, Tx
from eventseam.clock import Seams
from eventseam.errors import EventseamError, WiringError
from tests.unit.app.shop import (
    BlockingSql,
    ConfirmOrder,
    OrderConfirmed,
    PlaceOrder,
    SuspendingSql,
    handlers,
    incoming,
    texts,
)


async def test_tx_reads_and_writes_at_once_and_records_messages():
    stock = Service("stock")
    seen: list[object] = []

    @stock.handle_tx(PlaceOrder)
    async def place(cmd: PlaceOrder, tx: Tx) -> str:
        seen.append(await tx.execute("INSERT INTO stock VALUES ($1, 2), ($2, 3)", "a", "b"))
        row = await tx.fetch_one("SELECT sku, free FROM stock WHERE free >= $1 ORDER BY sku", 2)
        assert row is not None
        seen.extend([row["sku"], row[1], await tx.fetch_one("SELECT 1 WHERE 1 = 0")])
        seen.append([tuple(each) for each in await tx.fetch_all("SELECT free FROM stock ORDER BY sku")])
        tx.publish(OrderConfirmed(cmd.order_id))
        tx.send(ConfirmOrder(cmd.order_id))
        return tx.idempotency_key

    run_tx = handlers(stock)["place"].run_tx
    assert run_tx
    record = await run_tx([incoming(PlaceOrder("o1"))], SuspendingSql())

    assert [2, "a", 2, None, [(2,), (3,)]] == seen
    assert ['order.confirmed {"order_id":"o1"}', 'order.confirm {"order_id":"o1"}'] == texts(record)
    assert "stock/place/m1" == record.answer


def test_sync_tx_does_the_same_without_await():
    stock = Service("stock")
    seen: list[object] = []

    @stock.on_tx(OrderConfirmed)
    def reserve(event: OrderConfirmed, tx: SyncTx) -> None:
        seen.append(tx.execute("INSERT INTO stock VALUES ($1, 2)", "a"))
        row = tx.fetch_one("SELECT sku, free FROM stock")
        assert row is not None
        seen.extend([row["sku"], row[1], len(tx.fetch_all("SELECT * FROM stock")), tx.envelope.id, tx.attempt])
        tx.publish(OrderConfirmed("o2"))

    run_tx = handlers(stock)["reserve"].run_blocking_tx
    assert run_tx
    record = run_tx([incoming(OrderConfirmed("o1"))], BlockingSql())

    assert [1, "a", 2, 1, "m1", 1] == seen
    assert ['order.confirmed {"order_id":"o2"}'] == texts(record)


@pytest.mark.parametrize("fails", [True, False])
async def test_a_transaction_kept_after_its_handler_ended_can_no_longer_write(fails: bool):
    stock = Service("stock")
    kept: list[Tx] = []

    @stock.on_tx(OrderConfirmed)
    async def keep(event: OrderConfirmed, tx: Tx) -> None:
        kept.append(tx)
        if fails:
            raise ValueError

    run_tx = handlers(stock)["keep"].run_tx
    assert run_tx
    try:
        await run_tx([incoming(OrderConfirmed("o1"))], BlockingSql())
    except ValueError:
        assert fails

    with pytest.raises(EventseamError, match="was used for 'DELETE FROM stock' after its handler had returned"):
        await kept[0].execute("DELETE FROM stock")
    with pytest.raises(EventseamError, match="after its handler had returned"):
        kept[0].publish(OrderConfirmed("o1"))


async def test_a_transaction_outside_a_handler_records_but_has_no_envelope():
    bench = Bench(Service("orders"), Seams(), None)
    sql = BlockingSql()
    tx, notes = bench.transaction(sql)

    await tx.execute("INSERT INTO stock VALUES ('a', 1)")
    tx.publish(OrderConfirmed("o1"))
    with pytest.raises(WiringError, match="opened outside a handler has no envelope"):
        _ = tx.envelope
    record = await finish(notes)

    assert ['order.confirmed {"order_id":"o1"}'] == texts(record)
    with pytest.raises(EventseamError, match="after its handler had returned"):
        await tx.execute("DELETE FROM stock")
