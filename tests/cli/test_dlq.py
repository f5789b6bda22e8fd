"""`eventseam dlq` shows what failed and why, and changes exactly the rows that were named."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from eventseam.cli.exits import Exit
from tests.cli.conftest import POISON


def states(query):
    return query("SELECT message_id, state, attempts FROM unsettled ORDER BY id")


def test_list_shows_dead_letters_with_their_cause(cli, shop):
    ended = cli("dlq", "list", "--database", shop)
    assert Exit.OK == ended.code
    header, *rows = ended.out.splitlines()
    assert ["id", "state", "service", "handler", "key", "type", "attempts", "since", "cause"] == header.split()
    assert 2 == len(rows)
    assert "GatewayDown: no" in rows[0]


def test_list_as_json_has_stable_keys(cli, shop):
    document = cli("dlq", "list", "--json", "--database", shop).document
    assert (2, False) == (document["total"], document["more"])
    assert [
        "id", "service", "handler", "key", "message_id", "state", "attempts", "since", "next_at", "error_class",
        "error_message", "position", "envelope",
    ] == list(document["unsettled"][0])  # fmt: skip
    assert "2026-01-02T12:00:00.000Z" == document["unsettled"][0]["since"]


def test_list_all_states_and_say_how_many_more(cli, shop):
    document = cli("dlq", "list", "--state", "all", "--limit", "2", "--json", "--database", shop).document
    assert (["dead", "waiting"], 3, True) == (
        [row["state"] for row in document["unsettled"]], document["total"], document["more"],
    )  # fmt: skip
    assert "1 more" in cli("dlq", "list", "--state", "all", "--limit", "2", "--database", shop).out


def test_list_filters_by_handler(cli, shop):
    document = cli("dlq", "list", "--handler", "refund", "--json", "--database", shop).document
    assert ([3], 1) == ([row["id"] for row in document["unsettled"]], document["total"])


def test_an_empty_list_is_an_answer(cli, shop):
    ended = cli("dlq", "list", "--service", "orders", "--database", shop)
    assert (Exit.OK, "No dead letters.\n", "") == (ended.code, ended.out, ended.err)


@pytest.mark.parametrize(
    "words, told",
    [
        (("--service", "paymnets"), "no service 'paymnets' in this database; there are: orders, payments."),
        (("--handler", "nope"), "no handler 'nope' in this database; there are: charge, greet, refund, reserve."),
        (
            ("--service", "payments", "--handler", "reserve"),
            "no handler 'reserve' in this database; there are: charge,",
        ),
        (("--service", "x", "--json"), "no service 'x' in this database; there are: orders, payments."),
    ],
)
def test_a_filter_with_a_name_that_no_row_bears_is_no_good_news(cli, shop, words, told):
    with closing(sqlite3.connect(shop.removeprefix("sqlite:///"))) as file, file:
        inbox = [("payments", "charge"), ("payments", "greet"), ("orders", "reserve")]
        file.executemany(
            "INSERT INTO processed_events (event_id, service, handler) VALUES (?, ?, ?)",
            [(f"m-{n}", *pair) for pair in inbox for n in range(3)],
        )
    ended = cli("dlq", "list", *words, "--database", shop)
    assert Exit.FOUND == ended.code
    assert f"eventseam: {told}" in ended.err
    assert ended.document["unsettled"] == [] if "--json" in words else "No dead letters.\n" == ended.out


def test_a_handler_that_has_handled_something_and_failed_at_nothing_is_good_news(cli, shop):
    with closing(sqlite3.connect(shop.removeprefix("sqlite:///"))) as file, file:
        file.execute("INSERT INTO processed_events (event_id, service, handler) VALUES ('m', 'orders', 'reserve')")
    ended = cli("dlq", "list", "--handler", "reserve", "--database", shop)
    assert (Exit.OK, "") == (ended.code, ended.err)


def test_lists_never_print_a_payload(cli, shop):
    for words in (("dlq", "list"), ("dlq", "list", "--json")):
        out = cli(*words, "--database", shop).out
        assert "order_id" not in out
        assert base64.b64encode(POISON).decode() not in out


def test_show_tells_cause_attempts_origin_envelope_and_raw_bytes(cli, shop):
    out = cli("dlq", "show", 1, "--database", shop).out
    for told in ("GatewayDown", "gateway.py:7 in charge", "10", "web", "c-1", "m-0", "order.placed", '{"order_id": "'):
        assert told in out


def test_show_escapes_what_a_terminal_would_obey(cli, shop):
    out = cli("dlq", "show", 1, "--database", shop).out
    assert "\x1b" not in out
    assert '{"order_id": "\\x1b[2J\\xff' in out


def test_show_as_json_has_the_exact_bytes(cli, shop):
    body = cli("dlq", "show", 1, "--json", "--database", shop).document["body"]
    assert {"size_bytes": len(POISON), "base64": base64.b64encode(POISON).decode(), "text": None} == body


def test_show_raw_writes_the_exact_bytes_to_a_pipe(shop):
    done = subprocess.run(
        [sys.executable, "-m", "eventseam.cli", "dlq", "show", "1", "--raw", "--database", shop],
        capture_output=True,
        check=True,
    )
    assert POISON == done.stdout


def test_show_cuts_a_long_body_and_says_how_to_get_all(cli, shop):
    assert cli("dlq", "show", 3, "--database", shop).out.endswith("x\n… 5,904 more bytes: --raw writes them all.\n")


def test_show_of_an_unknown_id_matches_nothing(cli, shop):
    ended = cli("dlq", "show", 99, "--database", shop)
    assert (Exit.FOUND, "") == (ended.code, ended.out)
    assert "eventseam: there is no unsettled message 99. See: eventseam dlq list --state all\n" == ended.err


def test_redrive_by_id_gives_one_message_its_attempts_again(cli, shop, query):
    ended = cli("dlq", "redrive", 1, "--json", "--database", shop)
    assert (Exit.OK, {"redriven": 1, "missing": 0}) == (ended.code, ended.document)
    assert [["m-1", "retrying", 0], ["m-2", "waiting", 10], ["m-3", "dead", 10]] == states(query)


def test_redrive_by_handler_and_all(cli, shop, query):
    assert 1 == cli("dlq", "redrive", "--handler", "refund", "--json", "--database", shop).document["redriven"]
    assert 1 == cli("dlq", "redrive", "--all", "--json", "--database", shop).document["redriven"]
    assert ["retrying", "waiting", "retrying"] == [state for _, state, _ in states(query)]


def test_redrive_says_which_part_of_the_ids_was_not_there(cli, shop):
    ended = cli("dlq", "redrive", 1, 98, 99, "--json", "--database", shop)
    assert (Exit.FOUND, {"redriven": 1, "missing": 2}) == (ended.code, ended.document)


def test_redrive_that_matches_nothing_ends_with_1(cli, shop):
    assert Exit.FOUND == cli("dlq", "redrive", "--service", "nobody", "--database", shop).code


def test_discard_drops_a_row_and_what_waited_goes_on(cli, shop, query):
    assert Exit.OK == cli("dlq", "discard", 1, "--database", shop).code
    assert [["m-2", "retrying", 10], ["m-3", "dead", 10]] == states(query)


def test_discard_all_drops_the_dead_letters_only(cli, shop, query):
    ended = cli("dlq", "discard", "--all", "--yes", "--json", "--database", shop)
    assert {"discarded": 2, "missing": 0} == ended.document
    assert ["retrying"] == [state for _, state, _ in states(query)]


def test_discard_all_wants_a_yes(cli, shop, query):
    ended = cli("dlq", "discard", "--all", "--database", shop)
    assert Exit.USAGE == ended.code
    assert "--yes" in ended.err
    assert 3 == len(states(query))


@pytest.mark.parametrize("words", [[], ["1", "--all"], ["1", "--service", "payments"]])
@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_neither_or_both_ways_of_naming_messages_is_a_usage_error(cli, shop, verb, words):
    assert Exit.USAGE == cli("dlq", verb, *words, "--database", shop).code


def test_passwords_in_causes_are_masked(cli, shop):
    for words in (("list",), ("list", "--json"), ("show", 1), ("show", 1, "--json")):
        out = cli("dlq", *words, "--database", shop).out
        assert "canary-9" not in out
        assert "app:***@db" in out


def test_show_of_an_unknown_id_is_a_json_document_too(cli, shop):
    ended = cli("dlq", "show", 99, "--json", "--database", shop)
    assert (Exit.FOUND, {"id": 99, "missing": 1}) == (ended.code, ended.document)
    assert "there is no unsettled message 99" in ended.err
