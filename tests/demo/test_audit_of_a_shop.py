"""The audit of a real shop's database: clean as the shop left it, and biting where somebody plants a fault."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from eventseam import App
from eventseam.demo.app import SERVICES
from eventseam.demo.audit import TRACES, audit
from eventseam.demo.generate import generate
from eventseam.demo.look import Looks
from eventseam.demo.outside import VARIABLE, opened
from eventseam.demo.shop.orders.service import place
from eventseam.demo.where import NAMES

ORDERS = generate(2, 40)

SWAP = """
CREATE TABLE turned AS SELECT n, order_id, subject, cause FROM emails ORDER BY n DESC;
DELETE FROM emails;
INSERT INTO emails (order_id, subject, cause) SELECT order_id, subject, cause FROM turned;
"""


class OpenLook:
    """A look through a connection that has changed something and not committed it."""

    def __init__(self, connection):
        self.connection = connection

    def execute(self, sql, *args):
        return self.connection.execute(sql.replace("$", "?"), args).fetchall()


def looking_through(connection):
    return Looks(dict.fromkeys(NAMES, OpenLook(connection)))


async def sold(folder, monkeypatch):
    """A shop that has sold ORDERS: its database, and the orders that the gateway has charged."""
    monkeypatch.setenv("EVENTSEAM_DATABASE", f"sqlite:///{folder / 'shop.db'}")
    monkeypatch.setenv(VARIABLE, str(folder / "outside"))
    async with (app := App(*SERVICES)).running():
        for order in ORDERS:
            await app.call(place, order.place)
            await app.call(place, order.place)  # a customer who asks again
        await app.wait_idle()
    with opened(str(folder / "outside")) as outside:
        charged = [order_id for order_id, _ in outside.charges("payments/%")]
    return sqlite3.connect(folder / "shop.db"), charged


async def test_a_shop_is_clean_and_a_loss_planted_in_any_table_is_found(tmp_path, monkeypatch):
    database, charged = await sold(tmp_path, monkeypatch)
    with closing(database) as shop:
        clean = audit(looking_through(shop), charged)
        assert clean.is_clean
        assert clean.handled > 6 * len(ORDERS)
        for trace in TRACES:
            count = shop.execute(f"SELECT count(*) FROM {trace.table}").fetchone()[0]
            shop.execute(f"DELETE FROM {trace.table} WHERE rowid = (SELECT max(rowid) FROM {trace.table})")
            assert (trace.table, min(count, 1)) == (trace.table, audit(looking_through(shop), charged).lost)
            shop.rollback()


async def test_an_effect_applied_twice_is_found_in_every_table(tmp_path, monkeypatch):
    database, charged = await sold(tmp_path, monkeypatch)
    with closing(database) as shop:
        for trace in TRACES[1:]:
            names = [row[1] for row in shop.execute(f"PRAGMA table_info({trace.table})") if row[1] != "n"]
            columns = ", ".join(names)
            once = shop.execute(f"INSERT INTO {trace.table} ({columns}) SELECT {columns} FROM {trace.table} LIMIT 1")
            assert (trace.table, once.rowcount) == (trace.table, audit(looking_through(shop), charged).duplicated)
            shop.rollback()


async def test_effects_in_the_wrong_order_are_found(tmp_path, monkeypatch):
    database, charged = await sold(tmp_path, monkeypatch)
    with closing(database) as shop:
        shop.executescript(SWAP)
        assert len(ORDERS) == audit(looking_through(shop), charged).out_of_order


async def test_a_second_charge_is_found(tmp_path, monkeypatch):
    database, charged = await sold(tmp_path, monkeypatch)
    with closing(database) as shop:
        assert 1 == audit(looking_through(shop), [*charged, charged[0]]).duplicated
