"""What a server needs is locked, and installed only by those who ask for it."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def names(requirements):
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements if isinstance(requirement, str)}


@pytest.fixture(scope="module")
def config():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_group_that_tests_install_has_what_the_extras_have(config):
    extras = config["project"]["optional-dependencies"]
    wanted = extras["postgresql"] + extras["sqlalchemy"] + extras["servers"]
    assert set() == names(wanted) - names(config["dependency-groups"]["postgresql"])


def test_what_a_demo_on_postgresql_needs_is_locked_with_hashes(config):
    extras = config["project"]["optional-dependencies"]
    lock = (ROOT / "requirements-postgresql.lock").read_text(encoding="utf-8")
    locked = re.findall(r"^([\w.-]+)==[^\n]*\\\n +--hash=sha256:", lock, re.MULTILINE)
    assert set() == names(extras["postgresql"] + extras["servers"]) - set(locked)


@pytest.mark.parametrize("arguments, is_wanted", [("", False), ("--database postgresql:embedded", True)])
def test_a_demo_installs_drivers_and_a_server_only_where_it_names_them(tmp_path, arguments, is_wanted):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    plan = subprocess.run(
        ["make", "--dry-run", "demo", f"VENV={tmp_path}", f"ARGS={arguments}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "requirements-run.lock" in plan
    assert is_wanted == ("requirements-postgresql.lock" in plan)
