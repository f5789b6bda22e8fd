"""The whole demo, as anybody runs it: two shops, one outage, poison, kill -9, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from eventseam.demo.generate import generate

DEMO = (sys.executable, "-m", "eventseam.cli", "demo")
END_SECONDS_MAX = 150


@dataclass
class Ended:
    code: int
    out: str
    err: str


def demo(*words, cwd):
    done = subprocess.run(
        [*DEMO, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=END_SECONDS_MAX, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def report_in(folder):
    return json.loads((folder / "r.json").read_text())


def outcomes(folder):
    with closing(sqlite3.connect(folder / "shop.db")) as shop:
        return dict(shop.execute("SELECT order_id, status FROM orders"))


SMALL = ("--orders", 200, "--rate", 150, "--outage", 1, "--report", "r.json")
BY_THE_RULES = {order.place.order_id: order.outcome for order in generate(1, 200)}


def test_the_events_live_through_an_outage_that_the_chain_does_not(tmp_path):
    ended = demo(*SMALL, cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    report = report_in(tmp_path)
    assert 200 == report["orders"]["offered"] == report["orders"]["accepted"] == report["synchronous"]["offered"]
    assert report["synchronous"]["failed"] > 0
    assert report["outage"]["accepted_during"] > 0
    assert [0, 0, 0, 0] == [report["events"][name] for name in ("lost", "duplicated", "out_of_order", "dead_letters")]
    assert "turned away with an error" in ended.out
    assert "All 7 checks hold" in ended.out


def test_the_report_can_be_recomputed_from_the_orders(tmp_path):
    ended = demo(*SMALL, "--only", "events", cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    report = report_in(tmp_path)
    confirmed = [order for order in generate(1, 200) if order.outcome == "confirmed"]
    assert len(confirmed) == report["orders"]["confirmed"]
    assert str(sum(sum(order.place.payments) for order in confirmed)) == report["read_model"]["revenue"]
    by_state = map(Decimal, report["read_model"]["revenue_by_state"].values())
    assert Decimal(report["read_model"]["revenue"]) == sum(by_state)
    assert None is report["synchronous"]


def test_poison_of_every_kind_is_dead_and_changes_no_outcome(tmp_path):
    ended = demo(*SMALL, "--only", "events", "--poison", 6, "--database", "sqlite:///shop.db", cwd=tmp_path)
    assert 0 == ended.code
    assert 6 == report_in(tmp_path)["events"]["dead_letters"]
    assert outcomes(tmp_path) == BY_THE_RULES
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        dead = shop.execute("SELECT lane, service, length(body), error_message FROM unsettled ORDER BY lane").fetchall()
    assert [(f"poison-{n}", "orders") for n in range(6)] == [row[:2] for row in dead]
    assert all(length > 10 and why for _, _, length, why in dead)


def test_a_demo_that_was_killed_goes_on_and_reports_the_whole_run(tmp_path):
    (tmp_path / "shop.db").touch()  # even the first run may be killed before it has made a file that can be resumed
    words = [*SMALL, "--only", "events", "--database", "sqlite:///shop.db", "--resume"]
    for seconds in (1.2, 0.9, 1.4):
        with subprocess.Popen([*DEMO, *map(str, words)], cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
    assert 0 == demo(*words, cwd=tmp_path).code
    report = report_in(tmp_path)
    assert 200 == report["orders"]["offered"] == report["orders"]["accepted"]
    assert all(report["checks"].values())
    assert outcomes(tmp_path) == BY_THE_RULES


def test_ctrl_c_stops_the_demo_and_says_how_to_go_on(tmp_path):
    words = [*DEMO, "--orders", "4000", "--only", "events", "--database", "sqlite:///shop.db"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()  # the first line of progress
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert 130 == process.returncode
    assert "Go on with:\n  eventseam demo --resume --database sqlite:///shop.db --seed 1 --orders 4000" in err


def test_the_chain_alone_needs_no_database(tmp_path):
    words = ("--orders", 60, "--rate", 300, "--outage", 0.2, "--only", "chain", "--report", "r.json")
    assert 0 == demo(*words, cwd=tmp_path).code
    report = report_in(tmp_path)
    assert (None, None, None) == (report["orders"], report["events"], report["read_model"])
    assert 60 == report["synchronous"]["offered"]
    assert [tmp_path / "r.json"] == list(tmp_path.iterdir())


def test_no_orders_are_a_shop_without_customers(tmp_path):
    assert 0 == demo("--orders", 0, "--outage", 0, cwd=tmp_path).code


def test_the_shop_is_an_app_like_any_other(tmp_path):
    words = [sys.executable, "-m", "eventseam.cli", "describe", "eventseam.demo.app:create", "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    services = {service["name"] for service in json.loads(done.stdout)["services"]}
    assert {"orders", "inventory", "payments", "shipping", "email", "analytics"} == services


def test_one_json_document_for_programs(tmp_path):
    ended = demo("--orders", 20, "--rate", 500, "--outage", 0, "--json", cwd=tmp_path)
    assert json.loads(ended.out)["orders"]["accepted"] == 20


def test_a_database_that_holds_a_shop_is_not_begun_anew(tmp_path):
    demo(
        "--orders", 5, "--rate", 500, "--outage", 0, "--only", "events", "--database", "sqlite:///shop.db", cwd=tmp_path
    )
    again = demo("--orders", 5, "--only", "events", "--database", "sqlite:///shop.db", cwd=tmp_path)
    assert 3 == again.code
    assert "Go on with it by --resume" in again.err
    others = demo(
        "--orders", 5, "--seed", 2, "--only", "events", "--database", "sqlite:///shop.db", "--resume", cwd=tmp_path
    )
    assert "the database holds 5 other orders" in others.err


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--resume"], 3, "--resume needs the --database"),
        (["--rate", "fast"], 2, "must be a number from 0.1"),
        (["--outage", "nan"], 2, "must be a number from 0"),
        (["--report", "nowhere/r.json"], 3, "its folder is not there"),
        (["--report", "."], 3, "--report .: this is a folder. Name a file in it."),
        (["--report", "/proc/r.json"], 3, "--report /proc/r.json cannot be written: "),
        (["--database", "sqlite:///nowhere/s.db"], 4, "there is no folder nowhere. Make it first"),
        (["--database", "sqlite:////proc/s.db"], 4, "/proc/s.db cannot be written: "),
        (["--database", "sqlite:///."], 4, ". is a folder. Name a file in it."),
        (["--database", "sqlite:///notes.txt"], 4, "notes.txt is not a shop: file is not a database."),
        (["--database", "sqlite:///notes.txt", "--resume"], 4, "notes.txt is not a shop: file is not a database."),
        (["--database", "sqlite:///songs.db"], 4, "songs.db belongs to another program."),
        (["--database", "sqlite:///songs.db", "--resume"], 4, "songs.db belongs to another program."),
        (["--database", "sqlite:///typo.db", "--resume"], 3, "--resume: there is no typo.db to go on with."),
        (["--data", "nowhere"], 3, "items.csv is not there"),
        (["--database", "mysql://x/y"], 3, "write sqlite:///FILE"),
        (["--database", "postgresql://localhost"], 3, "the URL names no database"),
        (["--processes"], 3, "--processes needs PostgreSQL"),
        (["--processes", "--database", "sqlite:///s.db"], 3, "--processes needs PostgreSQL"),
        (["--database", "postgresql:embedded", "--resume"], 3, "--resume needs the --database"),
        (["--outside", "songs.db"], 3, "--outside songs.db belongs to another program"),
        (["--outside", "nowhere/o"], 3, "its folder is not there"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_with_the_fix(tmp_path, words, code, message):
    (tmp_path / "notes.txt").write_text("buy milk " * 100)
    with closing(sqlite3.connect(tmp_path / "songs.db")) as songs:
        songs.execute("CREATE TABLE songs (name TEXT)")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    ended = demo(*words, cwd=tmp_path)
    assert (code, "") == (ended.code, ended.out)
    assert message in ended.err
    assert before == {each.name: each.read_bytes() for each in tmp_path.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(END_SECONDS_MAX + 30)
def test_four_thousand_orders_live_through_five_seconds_of_outage(tmp_path):
    """The orders of the folder EVENTSEAM_OLIST, if it is set; otherwise as many generated ones."""
    folder = os.environ.get("EVENTSEAM_OLIST")
    ended = demo(*(["--data", Path(folder).absolute()] if folder else []), "--report", "r.json", cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    report = report_in(tmp_path)
    assert all(report["checks"].values())
    assert 4049 == report["orders"]["offered"] == report["orders"]["accepted"]
    assert report["outage"]["accepted_during"] > 0
    assert report["synchronous"]["failed"] > 0
    if folder:
        orders = report["orders"]
        assert (3287, 545, 217) == (
            orders["confirmed"],
            orders["rejected_items_unavailable"],
            orders["rejected_payment_failed"],
        )
        assert "535334.97" == report["read_model"]["revenue"]
