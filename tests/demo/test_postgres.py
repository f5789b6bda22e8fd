"""The same shop on PostgreSQL, by one changed URL: in one process, or in six with six databases and a bus."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eventseam.demo.audit import audit
from eventseam.demo.look import looking_at
from eventseam.demo.outside import opened
from eventseam.demo.servers import beside, name_of
from eventseam.demo.where import NAMES, Where
from tests.demo.test_demo import BY_THE_RULES, DEMO, SMALL, demo, report_in
from tests.support.postgres import query

ENDING_SECONDS = 20


@pytest.fixture
def spread(postgres_server, postgres_url, tmp_path):
    """Seven databases beside `postgres_url`, dropped afterwards."""
    names = [*NAMES, "bus"]
    where = Where(
        tmp_path / f"{name_of(postgres_url)}-outside",
        {service: beside(postgres_url, service) for service in NAMES},
        beside(postgres_url, "bus"),
    )
    yield where
    for name in names:
        postgres_server.drop(name_of(beside(postgres_url, name)))


def outcomes(url):
    return dict(query(url, "SELECT order_id, status FROM orders"))


def children(pid):
    """The processes that a demo has started, by the service they run."""
    found = {}
    for child in map(int, _read(f"/proc/{pid}/task/{pid}/children").split()):
        words = _read(f"/proc/{child}/cmdline").split("\0")
        if "--only" in words:
            found[words[words.index("--only") + 1]] = child
    return found


def _read(path):
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8")
    return ""


def until(condition):
    deadline = time.monotonic() + ENDING_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_shop_on_postgresql_has_the_totals_that_the_rules_say(tmp_path, postgres_url):
    words = ("--only", "events", "--poison", 6, "--database", postgres_url)
    ended = demo(*SMALL, *words, cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    report = report_in(tmp_path)
    assert [0, 0, 0, 6] == [report["events"][name] for name in ("lost", "duplicated", "out_of_order", "dead_letters")]
    assert outcomes(postgres_url) == BY_THE_RULES
    dead = query(postgres_url, "SELECT lane, service FROM unsettled ORDER BY lane")
    assert [(f"poison-{n}", "orders") for n in range(6)] == dead
    assert f"{name_of(postgres_url)}-outside" in {each.name for each in tmp_path.iterdir()}
    again = demo(*SMALL, *words, cwd=tmp_path)
    assert (3, True) == (again.code, "is the outside of a shop already" in again.err)


def test_a_server_of_our_own_needs_nothing_and_leaves_nothing(tmp_path, postgres_server):
    ended = demo("--orders", 20, "--rate", 100, "--outage", 0, "--database", "postgresql:embedded", cwd=tmp_path)
    assert (0, "") == (ended.code, ended.err)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.timeout(150)
def test_six_processes_with_six_databases_have_the_same_totals_and_go_on_after_a_kill(tmp_path, postgres_url, spread):
    words = [*SMALL, "--only", "events", "--database", postgres_url, "--processes"]
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
    assert [0, 0, 0, 6] == [report["events"][name] for name in ("lost", "duplicated", "out_of_order", "dead_letters")]
    assert outcomes(spread.databases["orders"]) == BY_THE_RULES
    with looking_at(spread) as looks, opened(str(spread.outside)) as outside:
        charged = outside.charged()
        assert audit(looks, charged).is_clean
        query(spread.databases["email"], "DELETE FROM emails WHERE n = (SELECT max(n) FROM emails)")
        query(spread.bus, "DELETE FROM event_outbox WHERE event_type = 'items.reserved' AND id = (SELECT max(id) FROM "
              "event_outbox WHERE event_type = 'items.reserved')")  # fmt: skip
        assert audit(looks, charged).lost >= 2


@pytest.mark.timeout(90)
def test_ctrl_c_ends_all_six_and_hides_the_password(tmp_path, postgres_url, spread):
    words = [*DEMO, "--orders", "4000", "--only", "events", "--database", postgres_url, "--processes"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: len(children(process.pid)) == len(NAMES))
        process.stdout.readline()  # the first line of progress
        running = children(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=40)
    assert 130 == process.returncode
    assert not any(_read(f"/proc/{child}/cmdline") for child in running.values())
    assert "eventseam demo --resume --database" in err
    assert "--processes" in err
    assert 2 == len(err.splitlines()), err
    assert (urlsplit(postgres_url).password or "no password") not in out + err


def test_what_belongs_to_others_is_refused_and_not_touched(tmp_path, postgres_url):
    query(postgres_url, "CREATE TABLE songs (name text)")
    ended = demo("--orders", 5, "--only", "events", "--database", postgres_url, cwd=tmp_path)
    assert 4 == ended.code
    assert "belongs to another program. Nothing was changed." in ended.err
    assert [("songs",)] == query(postgres_url, "SELECT table_name::text FROM information_schema.tables "
                                 "WHERE table_schema = 'public'")  # fmt: skip
    assert [] == list(tmp_path.iterdir())


def test_a_database_that_is_not_there_is_named_without_the_password(tmp_path, postgres_url):
    url = beside(postgres_url, "missing")
    ended = demo("--orders", 5, "--database", url, cwd=tmp_path)
    assert 4 == ended.code
    assert f'database "{name_of(url)}" does not exist' in ended.err
    assert (urlsplit(url).password or "no password") not in ended.err
