"""The same shop with a broker between its services, by one more URL; and the shop that moves there in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import pytest

from eventseam.demo.audit import audit
from eventseam.demo.look import looking_at
from eventseam.demo.meeting import broker_at, is_read
from eventseam.demo.outside import opened
from eventseam.demo.servers import beside, name_of
from eventseam.demo.where import NAMES, Where
from tests.demo.test_demo import BY_THE_RULES, DEMO, SMALL, demo, outcomes, report_in
from tests.demo.test_postgres import _read, children, until
from tests.demo.test_postgres import outcomes as outcomes_at
from tests.support.postgres import query

WRONG = ("lost", "duplicated", "out_of_order")
KEPT = ("--only", "events", "--database", "sqlite:///shop.db")


def meeting_in(folder):
    with opened(str(folder / "shop.db-outside")) as outside:
        return outside.meeting()


def told(url, channels):
    """How many messages lie in each of these channels at a broker."""

    async def ask():
        async with broker_at(url) as broker:
            found = {}
            for name in channels:
                begins = await broker.begin("test", [name], 6, "beginning")
                found[name] = sum((await broker.behind(begins)).values())
            return found

    return asyncio.run(ask())


def test_the_shop_at_a_broker_has_the_totals_that_the_rules_say(tmp_path, kafka_server):
    ended = demo(*SMALL, *KEPT, "--poison", 6, "--transport", kafka_server.url, cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    report = report_in(tmp_path)
    assert [0, 0, 0, 6] == [report["events"][name] for name in (*WRONG, "dead_letters")]
    assert outcomes(tmp_path) == BY_THE_RULES
    prefix = meeting_in(tmp_path).removeprefix("kafka ")
    assert prefix.startswith("demo-")
    channels = ["items", "order", "payment", "shipment"]
    there = told(f"{kafka_server.url}?prefix={prefix}", channels)
    assert sum(there.values()) >= report["events"]["published"]
    assert min(there.values()) > 0
    again = demo(*SMALL, *KEPT, "--poison", 6, "--transport", kafka_server.url, "--resume", cwd=tmp_path)
    assert (0, "") == (again.code, again.err)
    assert there == told(f"{kafka_server.url}?prefix={prefix}", channels)


def test_a_transport_of_the_environment_is_not_the_demos(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENTSEAM_TRANSPORT", "kafka://127.0.0.1:1")
    ended = demo("--orders", 20, "--rate", 100, "--outage", 0, "--only", "events", cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)


def test_a_broker_of_our_own_needs_nothing_and_leaves_nothing(tmp_path, kafka_server):
    ended = demo("--orders", 20, "--rate", 100, "--outage", 0, "--transport", "kafka:embedded", cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    assert [] == list(tmp_path.iterdir())


def test_the_shop_with_a_bus_in_a_database_has_the_totals_that_the_rules_say(tmp_path, postgres_url):
    words = (*SMALL, "--database", "sqlite:///shop.db", "--only", "events", "--transport", postgres_url)
    ended = demo(*words, cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    assert outcomes(tmp_path) == BY_THE_RULES
    assert report_in(tmp_path)["events"]["published"] == query(postgres_url, "SELECT count(*) FROM event_outbox")[0][0]


@pytest.mark.timeout(120)
def test_the_shop_moves_from_its_journal_to_a_broker_in_the_middle_of_a_run(tmp_path, kafka_url):
    words = [*SMALL, *KEPT]
    with subprocess.Popen([*DEMO, *map(str, words)], cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        until(lambda: (tmp_path / "shop.db").exists() and _accepted(tmp_path) >= 80)
        process.kill()
    before = _accepted(tmp_path)
    ended = demo(*words, "--resume", "--transport", kafka_url, cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    report = report_in(tmp_path)
    assert 200 == report["orders"]["offered"] == report["orders"]["accepted"]
    assert [0, 0, 0] == [report["events"][name] for name in WRONG]
    assert all(report["checks"].values())
    assert outcomes(tmp_path) == BY_THE_RULES
    assert 0 < told(kafka_url, ["shipment"])["shipment"] <= 200
    assert before < 200
    for elsewhere in ([], ["--transport", "kafka:embedded"]):
        back = demo(*words, "--resume", *elsewhere, cwd=tmp_path)
        assert 3 == back.code
        assert "this shop met elsewhere, and that is where its messages lie. Give --transport kafka://…?pre" in back.err


def _accepted(folder):
    try:
        return len(outcomes(folder))
    except Exception:  # noqa: BLE001 - there is no such table yet
        return 0


def test_topics_of_another_shop_are_refused_and_not_touched(tmp_path, kafka_url):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    words = ("--orders", 5, "--rate", 500, "--outage", 0, *KEPT, "--transport", kafka_url)
    assert 0 == demo(*words, cwd=tmp_path / "a").code
    before = told(kafka_url, ["order"])
    for more in ([], ["--resume"]):
        ended = demo(*words, *more, cwd=tmp_path / "b")
        assert 3 == ended.code
        assert "holds items, order, payment, shipment of another shop already, behind the prefix" in ended.err
    assert before == told(kafka_url, ["order"])
    assert "r.json" not in {each.name for each in (tmp_path / "b").iterdir()}


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--transport", "carrier-pigeon://loft"], 3, "--transport: write kafka:embedded, kafka://HOST"),
        (["--transport", "kafka://me:secret@elsewhere"], 3, "would send its password in the clear"),
        (["--transport", "kafka://"], 3, "the URL of the transport names no host"),
    ],
)
def test_transports_that_cannot_be_used_are_refused_with_the_fix(tmp_path, words, code, message):
    ended = demo(*words, "--database", "sqlite:///shop.db", cwd=tmp_path)
    assert (code, "") == (ended.code, ended.out)
    assert message in ended.err
    assert "secret" not in ended.err


@pytest.fixture
def spread(postgres_server, postgres_url, kafka_url, tmp_path):
    """Six databases beside `postgres_url`, dropped afterwards, and a broker."""
    databases = {service: beside(postgres_url, service) for service in NAMES}
    yield Where(tmp_path / f"{name_of(postgres_url)}-outside", databases, kafka_url)
    for url in databases.values():
        postgres_server.drop(name_of(url))


@pytest.mark.timeout(150)
def test_six_processes_at_a_broker_have_the_same_totals_and_go_on_after_a_kill(tmp_path, postgres_url, spread):
    words = [*SMALL, "--only", "events", "--database", postgres_url, "--processes", "--transport", spread.transport]
    with subprocess.Popen([*DEMO, *map(str, words)], cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        until(lambda: len(children(process.pid)) == len(NAMES))
        before = children(process.pid)
        os.kill(before["payments"], signal.SIGKILL)
        until(lambda: children(process.pid).get("payments", before["payments"]) != before["payments"])
        running = children(process.pid)
        process.kill()
    until(lambda: not any(_read(f"/proc/{child}/cmdline") for child in running.values()))
    ended = demo(*words, "--resume", "--poison", 6, cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    report = report_in(tmp_path)
    assert [0, 0, 0, 6] == [report["events"][name] for name in (*WRONG, "dead_letters")]
    assert outcomes_at(spread.databases["orders"]) == BY_THE_RULES
    with looking_at(spread) as looks, opened(str(spread.outside)) as outside:
        charged = outside.charged()
        assert audit(looks, charged).is_clean
        assert asyncio.run(_is_read(spread, looks))
        query(spread.databases["email"], "UPDATE positions SET cursor = regexp_replace(cursor, '[1-9][0-9]*\\]', '0]')")
        assert not asyncio.run(_is_read(spread, looks))
        query(spread.databases["email"], "DELETE FROM emails WHERE n = (SELECT max(n) FROM emails)")
        query(spread.databases["payments"], "INSERT INTO payments (order_id, cause) VALUES ('of nobody', 'nothing')")
        found = audit(looks, charged)
        assert (1, 1) == (found.lost, found.duplicated)


async def _is_read(where, looks):
    async with broker_at(where.broker) as broker:
        return await is_read(broker, looks)
