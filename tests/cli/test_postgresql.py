"""The commands that look, on a PostgreSQL database that a shop has used: the same answers as on SQLite."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eventseam import App, Retry, Settings
from eventseam.cli.exits import Exit
from tests.support.place import tables_for
from tests.support.talk import Said, ears, on_loop

ROOT = Path(__file__).parent.parent.parent

SHOP = """
from tests.support.talk import ears, on_loop
from tests.support.place import tables_for
from eventseam import App, Settings

def create():
    service = ears("ears")
    service.tables = tables_for(DATABASE, service.tables)
    on_loop(service, lambda message: None)
    return App(service, settings=Settings(database=DATABASE))
"""


@pytest.fixture
def shop(postgres_url):
    """`ears` has finished six messages and has a dead letter with one behind it; `slow` has read nothing."""
    asyncio.run(_fill(postgres_url))
    return postgres_url


async def _fill(url):
    service, slow = ears(), ears("slow")
    on_loop(slow, lambda message: None)

    @service.on(Said, retry=Retry(attempts=1))
    async def on_said(message, ctx):
        if message.who == "poison":
            raise ValueError("no")

    for each in (service, slow):
        each.tables = tables_for(url, each.tables)
    app = App(service, slow, settings=Settings(database=url))
    async with app.running(only=["ears"]):
        ids = await app.publish(service, *[Said(f"k{n}", n) for n in range(6)])
        await app.publish(service, Said("poison", 1), Said("poison", 2))
        await app.wait_for(service, *ids)
        await app.wait_idle()


def test_lag_folds_the_slots_of_a_service(cli, shop):
    ended = cli("lag", "--json", "--database", shop)
    ears_, slow = ended.document["services"]
    assert ("ears", 0, 16, {"dead": 1, "retrying": 0, "waiting": 1}) == (
        ears_["service"], ears_["behind_messages"], len(ears_["slots"]), ears_["unsettled"],
    )  # fmt: skip
    assert (8, 0) == (slow["behind_messages"], slow["position"])
    assert 8 == sum(slot["behind_messages"] for slot in slow["slots"])
    assert slow["behind_seconds"] == max(slot["behind_seconds"] for slot in slow["slots"]) > 0


def test_lag_as_a_table_has_a_row_for_each_service_and_with_slots_for_each_slot(cli, shop):
    assert 1 + 2 == len(cli("lag", "--database", shop).out.splitlines())
    assert 1 + 32 == len(cli("lag", "--slots", "--database", shop).out.splitlines())


def test_outbox_lists_filters_and_keeps_payloads_to_itself(cli, shop):
    assert 8 == len(cli("outbox", "--json", "--database", shop).document["messages"])
    [only] = cli("outbox", "--key", "k3", "--pending", "--json", "--database", shop).document["messages"]
    assert ("talk", "k3", "talk.said", 1) == (only["channel"], only["key"], only["type"], only["behind"])
    assert Exit.FOUND == cli("outbox", "--channel", "talc", "--database", shop).code


def test_dead_letters_are_listed_shown_redriven_and_discarded(cli, shop):
    [dead] = cli("dlq", "list", "--json", "--database", shop).document["unsettled"]
    assert ("ears", "on_said", "poison", "ValueError") == (
        dead["service"], dead["handler"], dead["key"], dead["error_class"],
    )  # fmt: skip
    assert '{"n": 1, "who": "poison"}' in cli("dlq", "show", dead["id"], "--database", shop).out
    assert {"redriven": 1, "missing": 0} == cli("dlq", "redrive", dead["id"], "--json", "--database", shop).document
    assert Exit.FOUND == cli("dlq", "list", "--service", "eers", "--database", shop).code
    assert {"discarded": 1, "missing": 0} == cli("dlq", "discard", dead["id"], "--json", "--database", shop).document
    [head] = cli("dlq", "list", "--state", "all", "--json", "--database", shop).document["unsettled"]
    assert ("retrying", dead["position"] + 1) == (head["state"], head["position"])


def test_an_empty_database_is_told_apart(cli, postgres_url):
    ended = cli("lag", "--database", postgres_url)
    assert (Exit.STORAGE, True) == (ended.code, "holds no Eventseam tables" in ended.err)


def test_run_and_describe_name_the_database_without_its_password(cli, shop, tmp_path):
    (tmp_path / "the_shop.py").write_text(SHOP + f"\nDATABASE = {shop!r}\n")
    words = "from eventseam.cli.main import main; raise SystemExit(main(['run', 'the_shop:create']))"
    with subprocess.Popen(
        [sys.executable, "-c", words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        line = run.stdout.readline()
        run.terminate()
        err = run.communicate(timeout=20)[1]
    assert 0 == run.returncode, err
    assert line.startswith("Running ears (1 handler) on postgresql://")


BUS_SHOP = """
from tests.support.talk import Said, ears, on_loop
from eventseam import App, Settings

def create():
    service = ears("ears")
    on_loop(service, lambda message: None)
    return App(service, settings=Settings(database=DATABASE, transport=BUS))
"""


def test_lag_of_an_app_with_a_bus_looks_there_as_well(cli, postgres_url, tmp_path, monkeypatch):
    own = f"sqlite:///{tmp_path / 'own.db'}"
    (tmp_path / "bus_shop.py").write_text(BUS_SHOP + f"\nDATABASE = {own!r}\nBUS = {postgres_url!r}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bus_shop", raising=False)
    asyncio.run(_publish_by_bus())
    document = cli("lag", "bus_shop:create", "--json").document
    assert ({"relay@bus": 0, "ears@bus": 0}, []) == (
        {each["service"]: each["behind_messages"] for each in document["services"]},
        document["never_ran"],
    )


def test_lag_counts_what_the_relay_could_not_publish(cli, postgres_url, tmp_path, monkeypatch):
    own = f"sqlite:///{tmp_path / 'own.db'}"
    (tmp_path / "bus_shop.py").write_text(BUS_SHOP + f"\nDATABASE = {own!r}\nBUS = {postgres_url!r}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bus_shop", raising=False)
    asyncio.run(_publish_by_bus())
    with closing(sqlite3.connect(tmp_path / "own.db")) as connection, connection:
        connection.execute(
            "INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, position, "
            "envelope, body) VALUES ('relay@bus', 'relay@bus', 'k', 'm', 'dead', 1, 0, 0, 1, '{}', x'00')"
        )
    document = cli("lag", "bus_shop:create", "--json").document
    assert {"relay@bus": 1, "ears@bus": 0} == {
        each["service"]: each["unsettled"]["dead"] for each in document["services"]
    }


async def _publish_by_bus():
    import bus_shop

    app = bus_shop.create()
    async with app.running():
        await app.publish(app.services[0], Said("a", 1))
        await app.wait_idle()
