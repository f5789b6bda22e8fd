"""A seventh service is one new file: the exercise of docs/howto/add-a-service.md, and what it leaves as it was."""

from __future__ import annotations

import ast
import importlib.util
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

import eventseam.demo
from eventseam import App, Settings
from eventseam.demo.app import SERVICES
from eventseam.demo.generate import generate
from eventseam.demo.outside import VARIABLE, opened
from eventseam.demo.shop.orders.service import place
from tests.demo.test_imports import imports
from tests.docs import snippets

PAGE = Path(__file__).parent.parent.parent / "docs" / "howto" / "add-a-service.md"
DEMO = Path(eventseam.demo.__file__).parent
ORDERS = generate(5, 60)


def source():
    """`loyalty.py` as the page prints it."""
    found = snippets.blocks(PAGE.read_text(encoding="utf-8"), "add-a-service.md")
    return next(block.text for block in found if block.file_name == "loyalty.py")


@pytest.fixture
def loyalty(tmp_path):
    path = tmp_path / "loyalty.py"
    path.write_text(source(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("loyalty", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.loyalty


@pytest.fixture
def database(tmp_path, monkeypatch):
    path = tmp_path / "shop.db"
    monkeypatch.setenv("EVENTSEAM_DATABASE", f"sqlite:///{path}")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "outside"))
    with opened(str(tmp_path / "outside")) as outside:
        outside.prepare(
            [o.place.order_id for o in ORDERS if o.status == "unavailable"],
            [o.place.order_id for o in ORDERS if o.status == "canceled"],
        )
    return path


async def sell(app, orders):
    async with app.running():
        for order in orders:
            await app.call(place, order.place)
        await app.wait_idle()


def rows(database, sql):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def points_by_the_rules(orders):
    points = Counter()
    for order in orders:
        if order.outcome == "confirmed":
            points[order.place.customer_id] += int(sum(order.place.payments))
    return dict(points)


def test_loyalty_imports_nothing_of_the_shop_but_contracts():
    names = {name for name in imports(ast.parse(source())) if name.startswith("eventseam.")}
    assert {"eventseam.demo.shop.orders.contracts"} == names


async def test_points_are_credited_once_for_orders_old_and_new(loyalty, database):
    await sell(App(*SERVICES), ORDERS[:40])
    await sell(App(*SERVICES, loyalty), ORDERS[40:])
    expected = points_by_the_rules(ORDERS)
    assert expected == dict(rows(database, "SELECT customer_id, points FROM loyalty_accounts"))


async def test_the_six_are_described_as_before(loyalty):
    settings = Settings(database="sqlite:///shop.db")
    before, after = (App(*services, settings=settings).describe() for services in (SERVICES, (*SERVICES, loyalty)))
    assert before["services"] == [service for service in after["services"] if service["name"] != "loyalty"]
    assert 7 == len(after["services"])


async def test_the_six_keep_their_tables_and_their_files_as_they_were(loyalty, database):
    tables = ("orders", "order_decisions", "stock", "inventory_decisions", "payments", "shipments", "emails", "sales")
    files = {path: path.read_bytes() for path in DEMO.rglob("*.py")}
    await sell(App(*SERVICES), ORDERS)
    before = {table: rows(database, f"SELECT * FROM {table} ORDER BY rowid") for table in tables}
    await sell(App(*SERVICES, loyalty), [])
    assert before == {table: rows(database, f"SELECT * FROM {table} ORDER BY rowid") for table in tables}
    assert files == {path: path.read_bytes() for path in DEMO.rglob("*.py")}
