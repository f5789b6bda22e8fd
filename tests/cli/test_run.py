"""`eventseam run` finds the app or says why not, announces it, logs as asked, and stops when it is told to."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from eventseam.cli.exits import Exit

APP = """
import asyncio
from dataclasses import dataclass
from eventseam import App, Channel, Service, Settings

order = Channel("order", key="order_id")

@order.event("order.placed")
@dataclass(frozen=True)
class OrderPlaced:
    order_id: str

email = Service("email")
other = Service("other")

@email.on(OrderPlaced)
async def greet(event, ctx):
    raise ValueError("no route to smtp://app:canary-9@mail payload-canary"[:39])

@other.on(OrderPlaced)
def note(event): ...

an_app = App(email, settings=Settings(database="sqlite:///unused.db"))

hanging = Service("hanging")

@hanging.on(OrderPlaced)
async def hang(event):
    print("hanging", flush=True)
    await asyncio.sleep(600)

def create_hanging():
    return App(hanging, settings=Settings(database="sqlite:///shop.db", grace_seconds=600))

def create():
    return App(email, other, settings=Settings(database="sqlite:///shop.db", grace_seconds=5))

def broken():
    raise KeyError("CONFIG")

def wants(name, *, size): ...
def nothing(): ...
async def later(): ...
number = 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the module `running_shop`, in which the command is typed."""
    (tmp_path / "running_shop.py").write_text(APP)
    (tmp_path / "bad_import.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "bad_code.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "running_shop", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "target, told",
    [
        ("no_such_shop:create", "there is no module 'no_such_shop'. Run this in the folder that holds no_such_shop.py"),
        ("running_shop.py:create", "running_shop.py:create names a file. Did you mean running_shop:create?"),
        ("no_such.shop:create", "there is no module 'no_such'"),
        ("bad_import:create", "importing 'bad_import' failed: No module named 'not_installed_anywhere'"),
        ("bad_code:create", "importing 'bad_code' failed: ZeroDivisionError"),
        ("running_shop:creat", "has no 'creat'. Did you mean running_shop:create?"),
        ("running_shop:qqqq", "Define `def qqqq() -> App` there."),
        ("running_shop:number", "is of type int, not a function that returns an App"),
        ("running_shop:wants", "needs arguments (name, size)"),
        ("running_shop:nothing", "returned None, not an App"),
        ("running_shop:later", "is an `async def`"),
        ("running_shop:broken", "running_shop:broken() raised KeyError: 'CONFIG'."),
    ],
)
@pytest.mark.parametrize("command", ["run", "describe", "lag"])
def test_a_target_that_is_no_app_is_a_wiring_error_with_the_fix(cli, folder, command, target, told):
    ended = cli(command, target)
    assert (Exit.WIRING, "") == (ended.code, ended.out)
    assert told in ended.err
    assert (1, True) == (ended.err.count("\n"), ended.err.startswith("eventseam: "))


def test_an_app_that_a_module_holds_is_taken_as_it_is(cli, folder):
    assert Exit.OK == cli("describe", "running_shop:an_app").code


def test_a_traceback_is_shown_with_debug_alone(cli, folder):
    assert "Traceback" not in cli("run", "running_shop:broken").err
    assert "Traceback" in cli("run", "running_shop:broken", "--debug").err


def test_an_unknown_service_is_a_wiring_error(cli, folder):
    ended = cli("run", "running_shop:create", "--only", "nobody")
    assert Exit.WIRING == ended.code
    assert "nobody" in ended.err


def start(folder, *words, factory="create"):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENTSEAM_")}
    return subprocess.Popen(
        [sys.executable, "-m", "eventseam.cli", "run", f"running_shop:{factory}", *words],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("number, code", [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.OK)])
def test_a_signal_stops_it_and_nothing_is_left(folder, number, code):
    process = start(folder)
    banner = process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (code, "") == (process.returncode, out)
    assert ["stopping: finishing what runs, up to 5 s; Ctrl-C again to hurry"] == [
        line for line in err.splitlines() if "stopping" in line
    ]
    assert (
        "Running email (1 handler), other (1 handler) on sqlite:///shop.db, listening to order. Ctrl-C stops.\n"
        == banner
    )


def test_ctrl_c_while_the_command_is_still_importing_shows_no_traceback(tmp_path):
    (tmp_path / "rich.py").write_text("raise KeyboardInterrupt\n")
    (tmp_path / "msgspec.py").write_text("raise KeyboardInterrupt\n")
    words = [sys.executable, "-m", "eventseam.cli", "run", "running_shop:create"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (130, "eventseam: interrupted.\n") == (ended.returncode, ended.stderr)


def test_only_runs_what_it_names_and_json_announces_it(folder):
    process = start(folder, "--only", "email", "--json")
    lines = [process.stdout.readline()]
    while lines[-1] != "}\n":
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert {"running": ["email"], "channels": ["order"], "database": "sqlite:///shop.db"} == json.loads("".join(lines))


def publish(folder):
    """As a foreign program does it."""
    with closing(sqlite3.connect(folder / "shop.db", timeout=30, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, message_id, correlation_id) "
            """VALUES ('order', 'o-1', 'order.placed', '{"order_id": "payload-canary"}', 'm-1', 'c-1')"""
        )


def test_json_logs_carry_the_correlation_id_and_no_payload(folder):
    process = start(folder, "--logs", "json")
    process.stdout.readline()
    publish(folder)
    failed = next(line for line in process.stderr if '"handler_failed"' in line)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    seen = json.loads(failed)
    assert ("email", "greet", "m-1", "c-1") == tuple(
        seen[name] for name in ("service", "handler", "message_id", "correlation_id")
    )
    assert "canary" not in failed + rest
    assert [5] == [line["grace_seconds"] for line in map(json.loads, rest.splitlines()) if line["event"] == "stopping"]


def test_a_second_engine_shows_up_as_waiting_and_stops_as_well(folder):
    first = start(folder)
    first.stdout.readline()
    second = start(folder, "--logs", "json")
    second.stdout.readline()
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=30)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert (Exit.INTERRUPTED, Exit.INTERRUPTED) == (first.returncode, second.returncode)


def test_a_second_ctrl_c_does_not_wait_for_a_handler_that_hangs(folder):
    process = start(folder, factory="create_hanging")
    process.stdout.readline()
    publish(folder)
    assert "hanging\n" == process.stdout.readline()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert Exit.INTERRUPTED == process.returncode
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        assert [(0, 0)] == connection.execute(
            "SELECT (SELECT count(*) FROM processed_events), (SELECT count(*) FROM unsettled)"
        ).fetchall()
