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
    wanted = extras["kafka"] + extras["postgresql"] + extras["sqlalchemy"] + extras["servers"]
    groups = config["dependency-groups"]
    assert set() == names(wanted) - names(groups["kafka"] + groups["postgresql"] + groups["postgresql-server"])


def test_what_a_demo_on_other_servers_needs_is_locked_with_hashes(config):
    extras = config["project"]["optional-dependencies"]
    kinds = ("kafka", "postgresql")
    locks = "".join((ROOT / f"requirements-{kind}.lock").read_text(encoding="utf-8") for kind in kinds)
    locked = re.findall(r"^([\w.-]+)==[^\n]*\\\n +--hash=sha256:", locks, re.MULTILINE)
    assert set() == names(extras["kafka"] + extras["postgresql"] + extras["servers"]) - set(locked)


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        ("", []),
        ("--database postgresql:embedded", ["postgresql"]),
        ("--transport kafka:embedded", ["kafka"]),
        ("--database postgresql://shop@db/shop --transport kafka://broker", ["kafka", "postgresql"]),
    ],
)
def test_a_demo_installs_drivers_and_a_server_only_where_it_names_them(tmp_path, arguments, wanted):
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
    assert wanted == sorted(set(re.findall(r"-r requirements-(kafka|postgresql)\.lock", plan)))
