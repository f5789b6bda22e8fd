"""Each misuse in tests/typing/rejected.py is an error of mypy strict and of pyright strict, on its own line.

`make types` fails where one becomes accepted; this test shows that both checkers still reject all of them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IGNORE = re.compile(r"  # type: ignore\[[a-z-]+\]$")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The wrong uses without the comments that silence them, and the settings that checkers of this project use."""
    package = tmp_path / "wrong"
    package.mkdir()
    lines = (ROOT / "tests/typing/rejected.py").read_text().splitlines()
    (package / "rejected.py").write_text("\n".join(IGNORE.sub("", line) for line in lines))
    shutil.copy(ROOT / "tests/typing/shop.py", package / "shop.py")
    (package / "__init__.py").touch()
    config = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    return package / "rejected.py"


def planted() -> list[int]:
    """The lines that carry an ignore, hence a misuse."""
    lines = (ROOT / "tests/typing/rejected.py").read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if IGNORE.search(line)]


def test_there_are_at_least_ten_misuses_and_each_is_planted_once():
    text = (ROOT / "tests/typing/rejected.py").read_text()
    numbers = [int(found) for found in re.findall(r'"""(\d+)\. ', text)]
    assert list(range(1, len(numbers) + 1)) == sorted(numbers)
    assert 10 <= len(numbers) == len(planted())


@pytest.mark.slow
def test_mypy_strict_rejects_every_misuse(bare: Path):
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache/misuses"), str(bare)]
    environment = {"MYPYPATH": str(ROOT / "src"), "PATH": ""}
    ran = subprocess.run(command, cwd=bare.parents[1], env=environment, capture_output=True, text=True, check=False)

    assert planted() == [int(found) for found in re.findall(r"rejected\.py:(\d+): error:", ran.stdout)], ran.stdout


@pytest.mark.slow
def test_pyright_strict_rejects_every_misuse(bare: Path):
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(command, cwd=bare.parents[1], capture_output=True, text=True, check=False)

    found = json.loads(ran.stdout)["generalDiagnostics"]
    assert planted() == sorted({each["range"]["start"]["line"] + 1 for each in found}), ran.stdout
