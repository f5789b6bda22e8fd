"""`lag`, `outbox` and `describe` tell what is there, change nothing, and keep payloads and passwords to themselves."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from eventseam.cli.exits import Exit

SHOP = """
from dataclasses import dataclass
from eventseam import App, Channel, Service, Settings

order = Channel("order", key="order_id")

@order.event("order.placed")
@dataclass(frozen=True)
class OrderPlaced:
    order_id: str

payments = Service("payments")
email = Service("email")

@payments.on(OrderPlaced)
def charge(event): ...

@email.on(OrderPlaced)
async def greet(event, ctx): ...

def create():
    return App(payments, email, settings=Settings(database=DATABASE))
"""


@pytest.fixture
def shop_module(shop, tmp_path, monkeypatch):
    """The module `the_shop`, importable from the current folder, whose settings name the shop's database."""
    (tmp_path / "the_shop.py").write_text(SHOP + f"\nDATABASE = {shop!r}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "the_shop", raising=False)
    return "the_shop"


def test_lag_tells_how_far_each_service_is_behind(cli, shop):
    document = cli("lag", "--json", "--database", shop).document
    orders, payments = document["services"]
    assert ("orders", 0, 0.0) == (orders["service"], orders["behind_messages"], orders["behind_seconds"])
    assert ("payments", 1, 2) == (payments["service"], payments["position"], payments["behind_messages"])
    assert payments["behind_seconds"] > 0
    assert {"dead": 2, "retrying": 0, "waiting": 1} == payments["unsettled"]


def test_lag_as_a_table(cli, shop):
    header, *rows = cli("lag", "--database", shop).out.splitlines()
    assert [
        "service",
        "position",
        "behind",
        "seconds",
        "dead",
        "retrying",
        "waiting",
        "owner",
    ] == header.split()
    assert ["orders", "payments"] == [row.split()[0] for row in rows]


def test_lag_beyond_what_is_allowed_ends_with_1(cli, shop):
    assert Exit.FOUND == cli("lag", "--max-seconds", "60", "--database", shop).code
    assert Exit.OK == cli("lag", "--max-seconds", "999999999", "--database", shop).code


def test_lag_of_an_app_uses_its_settings_and_names_what_never_ran(cli, shop_module):
    document = cli("lag", f"{shop_module}:create", "--json").document
    assert ["payments"] == [each["service"] for each in document["services"]]
    assert ["email"] == document["never_ran"]


def test_outbox_lists_the_newest_messages_first_without_payloads(cli, shop):
    ended = cli("outbox", "--json", "--database", shop)
    assert [3, 2, 1] == [each["position"] for each in ended.document["messages"]]
    assert [
        "position", "channel", "key", "type", "created_at", "message_id", "source", "correlation_id", "causation_id",
        "size", "behind",
    ] == list(ended.document["messages"][0])  # fmt: skip
    assert "payload-canary" not in ended.out + cli("outbox", "--database", shop).out


def test_outbox_filters_and_says_that_there_are_more(cli, shop):
    assert [2] == positions(cli("outbox", "list", "--channel", "order", "--key", "o-0", "--json", "--database", shop))
    assert [3, 2] == positions(cli("outbox", "--pending", "--json", "--database", shop))
    assert [] == positions(cli("outbox", "--key", "nothing", "--json", "--database", shop))
    limited = cli("outbox", "--limit", "2", "--json", "--database", shop)
    assert (2, True) == (len(limited.document["messages"]), limited.document["more"])
    assert "There are more" in cli("outbox", "--limit", "2", "--database", shop).out


def test_a_channel_that_no_row_bears_is_told(cli, shop):
    ended = cli("outbox", "--channel", "ordre", "--json", "--database", shop)
    assert (Exit.FOUND, []) == (ended.code, positions(ended))
    assert "eventseam: no channel 'ordre' in this database; there are: order.\n" == ended.err
    assert Exit.OK == cli("outbox", "--channel", "order", "--key", "o-7", "--database", shop).code


def positions(ended):
    return [each["position"] for each in ended.document["messages"]]


def test_describe_tells_services_handlers_messages_and_settings(cli, shop_module):
    document = cli("describe", f"{shop_module}:create", "--json").document
    assert {"settings", "transport", "services", "messages"} == set(document)
    assert ("journal on SQLite", True) == (document["transport"]["name"], "order" in document["transport"]["features"])
    out = cli("describe", f"{shop_module}:create").out
    for told in ("payments", "charge", "order.placed", "OrderPlaced", "lease_seconds", "journal on SQLite"):
        assert told in out


def test_describe_does_not_make_a_database(cli, shop_module, tmp_path, monkeypatch):
    (tmp_path / "shop.db").unlink()
    assert Exit.OK == cli("describe", f"{shop_module}:create").code
    assert not list(tmp_path.glob("shop.db*"))


def test_the_database_may_come_from_the_environment(cli, shop, monkeypatch):
    monkeypatch.setenv("EVENTSEAM_DATABASE", shop)
    assert Exit.OK == cli("dlq", "list").code


@pytest.mark.parametrize("words", [("lag",), ("outbox",), ("dlq", "list"), ("dlq", "show", 1), ("dlq", "redrive", 1)])
def test_without_a_database_the_error_says_how_to_name_one(cli, words):
    ended = cli(*words)
    assert (Exit.WIRING, "") == (ended.code, ended.out)
    assert (
        "eventseam: no database is named. Give --database sqlite:///shop.db, or set EVENTSEAM_DATABASE.\n" == ended.err
    )


@pytest.mark.parametrize("words", [("lag",), ("outbox",), ("dlq", "list"), ("db", "check"), ("journal", "trim")])
def test_an_empty_url_is_refused_and_no_other_database_is_asked(cli, shop, words, monkeypatch):
    monkeypatch.setenv("EVENTSEAM_DATABASE", shop)
    ended = cli(*words, "--database", "")
    assert (Exit.USAGE, "") == (ended.code, ended.out)
    assert "argument --database: is empty: give the URL" in ended.err


@pytest.mark.parametrize("words", [("lag",), ("outbox",), ("dlq", "list"), ("dlq", "redrive", 1)])
def test_a_misspelt_variable_of_the_environment_is_named(cli, words, monkeypatch):
    monkeypatch.setenv("EVENTSEAM_DATABSE", "sqlite:///shop.db")
    ended = cli(*words)
    assert (Exit.WIRING, "") == (ended.code, ended.out)
    assert "EVENTSEAM_DATABSE is no setting. Known: EVENTSEAM_" in ended.err


@pytest.mark.parametrize("path", ["shop.db", "/var/lib/a shop.db", "./shop"])
def test_a_path_instead_of_a_url_is_answered_with_the_url(cli, path):
    ended = cli("lag", "--database", path)
    assert (Exit.WIRING, "") == (ended.code, ended.out)
    assert f"eventseam: '{path}' is a path, not the URL of a database. Write sqlite:///{path}\n" == ended.err


def test_a_url_of_sqlalchemy_is_answered_with_the_one_to_write(cli):
    ended = cli("lag", "--database", "postgresql+psycopg://me@db/shop")
    assert Exit.WIRING == ended.code
    assert "write postgresql:// for postgresql+psycopg://" in ended.err


def test_a_missing_file_is_an_error_and_is_not_made(cli, tmp_path):
    ended = cli("lag", "--database", f"sqlite:///{tmp_path}/typo.db")
    assert Exit.STORAGE == ended.code
    assert "there is no database file" in ended.err
    assert [] == list(tmp_path.iterdir())


def test_a_folder_is_called_a_folder(cli, tmp_path):
    ended = cli("lag", "--database", f"sqlite:///{tmp_path}")
    assert Exit.STORAGE == ended.code
    assert f"'{tmp_path}' is a folder. Name the database file in it: sqlite:///{tmp_path}/shop.db" in ended.err


def test_a_file_that_is_no_database_is_an_error(cli, tmp_path):
    (tmp_path / "notes.txt").write_text("hello " * 1000)
    ended = cli("lag", "--database", f"sqlite:///{tmp_path}/notes.txt")
    assert Exit.STORAGE == ended.code
    assert 1 == ended.err.count("\n")


def test_the_database_of_another_program_is_left_alone(cli, tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE songs (name)")
    ended = cli("dlq", "list", "--database", f"sqlite:///{path}")
    assert Exit.STORAGE == ended.code
    assert "holds no Eventseam tables" in ended.err
    with closing(sqlite3.connect(path)) as connection, connection:
        assert [("songs",)] == connection.execute("SELECT name FROM sqlite_master").fetchall()


@pytest.mark.parametrize(
    "change, told",
    [("DELETE FROM {0} WHERE number > 0", "holds no"), ("INSERT INTO {0} VALUES (9999, 'x', 'x')", "9999")],
)
def test_a_database_of_another_version_is_refused(cli, shop, change, told):
    with closing(sqlite3.connect(shop.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(change.format("eventseam_migrations"))
    ended = cli("dlq", "list", "--database", shop)
    assert Exit.STORAGE == ended.code
    assert told in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("lag", "--database", "postgresql://app:canary-9@127.0.0.1:1/shop"),
        ("lag", "--database", "postgresql://app:can@ary-9/x@db/shop"),
        ("lag", "--database", "sqlite://app:canary-9@/shop.db"),
        ("lag", "--debug", "--database", "sqlite://app:canary-9@/shop.db"),
        ("lag", "--databse", "postgresql://app:canary-9@127.0.0.1:1/shop"),
        ("lag", "postgresql://app:canary-9@127.0.0.1:1/shop"),
        ("run", "postgresql://app:canary-9@127.0.0.1:1/shop"),
        ("dlq", "show", "postgresql://app:canary-9@127.0.0.1:1/shop"),
        ("outbox", "list", "--limit", "mysql://app:canary-9@db"),
    ],
)
def test_a_password_on_the_command_line_is_never_printed(cli, words):
    ended = cli(*words)
    assert ended.code in {Exit.USAGE, Exit.WIRING, Exit.STORAGE}
    assert "ary-9" not in ended.out + ended.err


def test_a_password_in_the_environment_is_never_printed(cli, shop_module, monkeypatch):
    monkeypatch.setenv("EVENTSEAM_DATABASE", "postgresql://app:canary-9@127.0.0.1:1/shop")
    for words in (("lag",), ("dlq", "list"), ("lag", "--debug"), ("outbox", "--json", "--debug")):
        ended = cli(*words)
        assert Exit.STORAGE == ended.code
        assert "canary-9" not in ended.out + ended.err
