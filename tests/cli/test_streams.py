"""What becomes of a command whose stdout is closed, full, or read no further: an exit code, and no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from eventseam.cli.exits import Exit


def shell(tail, *words):
    """Run `eventseam …` with the redirections of `tail`."""
    command = f'exec "$0" -m eventseam.cli "$@" {tail}'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, *words], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("json", [(), ("--json",)])
@pytest.mark.parametrize("tail", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_with_a_closed_stdout_a_command_does_its_work_and_its_exit_code_tells(shop, query, tail, json):
    done = shell(tail, "dlq", "list", *json, "--database", shop)
    assert (Exit.OK, "", "") == (done.returncode, done.stdout, done.stderr)
    assert Exit.OK == shell(tail, "dlq", "redrive", "1", *json, "--database", shop).returncode
    assert Exit.FOUND == shell(tail, "dlq", "redrive", "1000", *json, "--database", shop).returncode
    assert [["retrying"]] == query("SELECT state FROM unsettled WHERE id = 1")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("lag", "--database"), ("dlq", "list", "--json", "--database"), ("--version",)])
def test_a_full_stdout_is_told_in_one_line(shop, words, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    done = shell(">/dev/full", *words, *([shop] if "--database" in words else []))
    assert (
        Exit.BUG, "eventseam: the answer cannot be written: No space left on device. Check where stdout goes.\n",
    ) == (done.returncode, done.stderr)  # fmt: skip


def test_whoever_reads_no_further_ends_the_command_quietly(shop):
    done = shell("| :", "dlq", "show", "3", "--database", shop)
    assert "" == done.stderr
