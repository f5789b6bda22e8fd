"""Answers are JSON for programs, aligned text for pipes, and tables for people; nothing moves anybody's cursor."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from eventseam.cli.exits import Exit, complaint, exit_for, first_of
from eventseam.cli.render import Fields, Screen, Table, count_of, printable, time_of
from eventseam.errors import EventseamError, SettingsError, StorageUnavailable, WiringError

TABLE = Table(("name", "count"), [("a", 1), ("b\x1b[2J\n[bold]x", 1_000)])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(*blocks, stream=None, as_json=False):
    stream = stream or io.StringIO()
    Screen(stream, as_json).show({"answer": "\x1b\u202e"}, *blocks)
    return stream.getvalue()


def test_json_is_one_ascii_document():
    text = shown(TABLE, as_json=True)
    assert text.isascii()
    assert {"answer": "\x1b\u202e"} == json.loads(text)


def test_a_table_in_a_pipe_is_aligned_and_never_cut_off():
    assert "name               count\na                      1\nb\\x1b[2J\\n[bold]x   1000\n" == shown(TABLE)
    assert "x" * 5_000 in shown(Table(("long",), [("x" * 5_000,)]))


def test_a_table_on_a_terminal_is_drawn_by_rich_without_obeying_its_text():
    text = shown(TABLE, stream=Terminal())
    assert "b\\x1b[2J\\n[bold]x" in text
    assert "\x1b[2J" not in text


def test_fields_set_further_lines_under_the_first():
    assert "id     7\ncause  one\n       two\nnone   -\n" == shown(
        Fields([("id", 7), ("cause", "one\ntwo"), ("none", None)])
    )


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_raw_bytes_cannot_move_the_cursor_of_a_terminal(stream):
    stream = stream()
    Screen(stream).write_bytes(b"a\x1b[2J\nb\xff")
    assert "a\\x1b[2J\nb\\xff\n" == stream.getvalue()


def test_a_stream_that_cannot_say_a_character_gets_an_escape():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Screen(stream).write("naïve")
    assert b"na\\xefve\n" == raw.getvalue()


def test_text_that_is_printable_stays_as_it_is():
    assert "Grüße, 東京" == printable("Grüße, 東京")


def test_times_are_rfc_3339_in_utc():
    assert ("2026-01-02T12:00:00.500Z", None) == (time_of(1_767_355_200.5), time_of(None))


def test_counts_have_their_noun():
    assert ("1 row", "2 rows", "1,000 rows") == tuple(count_of(number, "row") for number in (1, 2, 1_000))


@pytest.mark.parametrize(
    "error, code",
    [
        (SettingsError("x"), Exit.WIRING),
        (WiringError("x"), Exit.WIRING),
        (StorageUnavailable("x"), Exit.STORAGE),
        (EventseamError("x"), Exit.FOUND),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (ValueError("x"), Exit.BUG),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [StorageUnavailable("x")])]), Exit.STORAGE),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert code == exit_for(error)


def test_a_complaint_is_one_line_without_secrets_or_control_characters():
    error = ExceptionGroup(
        "tasks", [StorageUnavailable("cannot\n reach\x1b[31m postgresql://app:canary-9@db. Start it.")]
    )
    assert "eventseam: cannot reach\\x1b[31m postgresql://app:***@db. Start it." == complaint(error)
    assert isinstance(first_of(error), StorageUnavailable)


def test_an_error_that_nobody_expected_says_how_to_see_more():
    assert "eventseam: KeyError: 'x'. Run it again with --debug to see where." == complaint(KeyError("x"))


def test_a_reader_that_has_enough_is_no_error(shop):
    command = [sys.executable, "-m", "eventseam.cli", "outbox", "--json", "--database", shop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (Exit.OK, b"") == (process.returncode, err)
