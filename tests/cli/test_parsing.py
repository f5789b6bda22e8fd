"""The command line's grammar: every command can be learned from its help, and wrong words end with 2 and one line."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eventseam.cli import reference
from eventseam.cli.exits import MEANINGS, Exit
from eventseam.cli.main import COMMANDS
from eventseam.cli.parsing import GROUPS, LIMIT_MAX, build_parser

ROOT = Path(__file__).parents[2]
NAMES = [command.name for command in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_every_commands_help_has_examples_and_exit_codes(cli, name):
    ended = cli(*name.split(), "--help")
    assert (Exit.OK, "") == (ended.code, ended.err)
    for told in ("\nExamples:\n  eventseam " + name, "\nExit codes:\n", "--json", "--debug"):
        assert told in ended.out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_every_example_in_a_help_text_parses(command):
    for example in command.examples:
        words = example.split(" | ")[0].split(" || ")[0].split(" > ")[0].split()
        assert command is build_parser(COMMANDS).parse_args(words[1:]).command


def test_help_lists_every_command(cli):
    out = cli("--help").out + "".join(cli(group, "--help").out for group in GROUPS)
    assert [] == [name for name in NAMES if not re.search(rf"^    {name.split()[-1]}\s", out, re.MULTILINE)]


def test_no_command_is_a_usage_error_that_shows_the_help(cli):
    ended = cli()
    assert (Exit.USAGE, "") == (ended.code, ended.out)
    assert "Examples:" in ended.err


def test_the_version_is_printed(cli):
    assert cli("--version").out.startswith("eventseam 0.")


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["dlq"],
        ["dlq", "nonsense"],
        ["dlq", "show"],
        ["dlq", "show", "-1"],
        ["dlq", "show", "1e3"],
        ["dlq", "show", str(2**63)],
        ["dlq", "list", "--limit", "0"],
        ["dlq", "list", "--limit", str(LIMIT_MAX + 1)],
        ["dlq", "list", "--state", "undead"],
        ["outbox", "--nonsense"],
        ["run"],
        ["run", "shop"],
        ["run", "shop:create()"],
        ["run", "os;rm:x"],
        ["run", "shop:create", "--only", ","],
        ["lag", "--max-seconds", "nan"],
    ],
)
def test_a_wrong_command_line_ends_with_2_and_one_line(cli, words):
    ended = cli(*words)
    assert (Exit.USAGE, "") == (ended.code, ended.out)
    assert ended.err.startswith("eventseam: ")
    assert 1 == ended.err.count("\n")
    assert "--help" in ended.err


def test_every_exit_code_has_a_meaning():
    assert set(Exit) == set(MEANINGS)


def test_the_alias_and_the_module_are_the_same_command():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["eventseam"] == scripts["seam"] == "eventseam.cli.__main__:main"
    done = subprocess.run([sys.executable, "-m", "eventseam.cli", "--version"], capture_output=True, check=True)
    assert done.stdout.startswith(b"eventseam ")


def test_the_reference_page_is_what_the_commands_say(capsys):
    assert Exit.OK == reference.main([str(ROOT / "docs/reference/cli.md"), "--check"]), capsys.readouterr().err


def test_a_reference_page_that_is_not_up_to_date_is_found(tmp_path, capsys):
    page = tmp_path / "cli.md"
    assert Exit.FOUND == reference.main([str(page), "--check"])
    assert "Run: python -m eventseam.cli.reference" in capsys.readouterr().err
    assert Exit.OK == reference.main([str(page)])
    assert Exit.OK == reference.main([str(page), "--check"])


@pytest.mark.parametrize(
    "typed, meant",
    [("./shop.py:create", "shop:create"), ("src/shop.py:build", "src.shop:build"), ("shop.py", "shop:create")],
)
def test_a_file_instead_of_a_module_is_answered_with_the_module(cli, typed, meant):
    ended = cli("run", typed)
    assert Exit.USAGE == ended.code
    assert f"not '{typed}'; did you mean {meant}?" in ended.err
