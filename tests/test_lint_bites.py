"""`make lint` fails on what it is there to stop: each violation is planted in a copy, and the same commands are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-bench.lock", "requirements-run.lock")
COPIED = ("src", "Makefile", "pyproject.toml", *LOCKS, "tests/__init__.py", "tests/tidy.py", "tests/test_tidy.py")


class Planted(NamedTuple):
    path: str
    text: str
    target: str
    finding: str


VIOLATIONS = {
    "the core importing what stands above it": Planted(
        "src/eventseam/contracts/planted.py",
        '"""Planted."""\n\nimport eventseam.delivery  # noqa: F401\n',
        "lint-imports",
        "eventseam.contracts.planted -> eventseam.delivery",
    ),
    "a function of 71 lines": Planted(
        "src/eventseam/delivery/planted.py",
        '"""Planted."""\n\n\ndef long() -> None:\n    """Planted."""\n' + "    pass\n" * 69,
        "lint-tidy",
        "src/eventseam/delivery/planted.py:4: long() has 71 lines, at most 70",
    ),
    "the wall clock in the core": Planted(
        "src/eventseam/delivery/planted.py",
        '"""Planted."""\n\nimport datetime\n\nNOW = datetime.datetime.now(datetime.UTC)\n',
        "lint-tidy",
        "src/eventseam/delivery/planted.py:5: datetime.datetime.now: ask the Clock seam",
    ),
    "a public name without a docstring": Planted(
        "src/eventseam/delivery/planted.py",
        '"""Planted."""\n\n\ndef public() -> None:\n    return\n',
        "lint-ruff",
        "D103",
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What `make lint` reads, apart from the rest of the tests."""
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    return tmp_path


def lint(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    """One of the commands of `make lint`, by the Makefile itself."""
    make = ["make", "--keep-going", target, f"PY={sys.executable}"]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PYTEST", "GIT_"))}
    return subprocess.run(make, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_lint_stops(violation, copy):
    planted = VIOLATIONS[violation]
    (copy / planted.path).write_text(planted.text, encoding="utf-8")
    done = lint(copy, planted.target)
    assert 0 != done.returncode
    assert planted.finding in done.stdout + done.stderr


def test_make_lint_runs_every_command_tried_here():
    wanted = {planted.target for planted in VIOLATIONS.values()}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = next(line for line in makefile.splitlines() if line.startswith("lint-only:"))
    assert wanted <= set(recipe.split())
