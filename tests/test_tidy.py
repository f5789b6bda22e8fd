"""Every file of the repository keeps the rules of tests/tidy.py, and every rule catches its planted sample."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from tests import tidy

ROOT = Path(__file__).parent.parent
NOT_OURS = {".git", ".venv", ".hypothesis", "__pycache__"}

CODE_CHECKS = [
    tidy.check_function_lines,
    tidy.check_parameters,
    tidy.check_module_docstring,
    tidy.check_bare_except,
]
CORE_CHECKS = [
    *CODE_CHECKS,
    tidy.check_homes,
    tidy.check_module_state,
    tidy.check_optional_imports,
]
TEXT_CHECKS = [
    tidy.check_foreign_paths_text,
    tidy.check_hosts_text,
    tidy.check_adr_lines_text,
]
PATH_CHECKS = [tidy.check_file_name, tidy.check_fragment_name]


@functools.cache
def paths() -> tuple[str, ...]:
    """Files that are, or are about to be, part of the repository; without git, all but the folders of tools."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    if not names:
        files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        names = [path.as_posix() for path in files if not NOT_OURS & set(path.parts)]
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


def python(*folders: str) -> list[str]:
    return [path for path in paths() if path.endswith(".py") and path.startswith(folders)]


@functools.cache
def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


@functools.cache
def tree_of(path: str) -> ast.Module:
    return ast.parse(text_of(path), filename=path)


@pytest.mark.parametrize("check", CORE_CHECKS)
def test_the_core_keeps_the_rule(check):
    assert [] == [found for path in python("src/") for found in check(tree_of(path), path)]


@pytest.mark.parametrize("check", CODE_CHECKS)
def test_tests_and_benchmarks_keep_the_rule(check):
    assert [] == [found for path in python("tests/", "bench/") for found in check(tree_of(path), path)]


@pytest.mark.parametrize("check", TEXT_CHECKS)
def test_every_file_keeps_the_rule(check):
    assert [] == [found for path in paths() for found in check(text_of(path), path)]


@pytest.mark.parametrize("check", PATH_CHECKS)
def test_every_name_keeps_the_rule(check):
    assert [] == [found for path in paths() for found in check(path)]


def test_no_file_is_too_long():
    assert [] == [found for path in python("") for found in tidy.check_file_lines_text(text_of(path), path)]


def test_most_functions_of_the_core_are_small():
    assert [] == tidy.check_function_spread({path: tree_of(path) for path in python("src/")})


def test_no_class_of_the_core_is_deep():
    assert [] == tidy.check_inheritance({path: tree_of(path) for path in python("src/")})


def test_every_feature_that_exists_is_held_to_the_import_contracts():
    config = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    features = next(c for c in config if c["name"] == "Features never name an adapter")
    packages = {path.split("/")[2] for path in python("src/eventseam/")}
    wanted = packages & {"sagas", "projections", "eventsourcing", "delivery", "journal"}
    adapters = packages & {"transports", "storage", "observe"}
    assert wanted <= {name.removeprefix("eventseam.") for name in features["source_modules"]}
    assert adapters <= {name.removeprefix("eventseam.") for name in features["forbidden_modules"]}


@pytest.mark.parametrize("group, lock", [("dev", ""), ("bench", "-bench"), ("build", "-run")])
def test_every_dependency_is_locked_with_a_hash(group, lock):
    config = tomllib.loads(text_of("pyproject.toml"))
    asked = config["project"]["dependencies"] + [d for d in config["dependency-groups"][group] if isinstance(d, str)]
    locked = re.findall(r"^([\w.-]+)==\S+.*\\\n +--hash=sha256:", text_of(f"requirements{lock}.lock"), re.MULTILINE)
    assert set() == {re.match(r"[\w.-]+", name)[0] for name in asked} - set(locked)


# ---------------------------------------------------------------- each rule bites

PLANTED = [
    (tidy.check_function_lines, "def f():\n" + "    x = 1\n" * 70, "f() has 71 lines"),
    (tidy.check_parameters, "def f(a, b, c, *, d, e, g): ...", "f() has 6 parameters"),
    (tidy.check_module_docstring, "x = 1", "no module docstring"),
    (tidy.check_bare_except, "try:\n    x = 1\nexcept:\n    x = 2", "bare except"),
    (tidy.check_homes, "from datetime import datetime\nx = datetime.now()", "datetime.datetime.now: ask the Clock"),
    (tidy.check_homes, "import datetime as d\nx = d.datetime.utcnow()", "datetime.datetime.utcnow: ask the Clock"),
    (tidy.check_homes, "from time import monotonic", "time.monotonic: ask the Clock"),
    (tidy.check_homes, "import time\nx = time.time_ns()", "time.time_ns: ask the Clock"),
    (tidy.check_homes, "import uuid\nx = field(default_factory=uuid.uuid4)", "uuid.uuid4: ask the Ids"),
    (tidy.check_homes, "import random\nx = random.random()", "random.random: ask the Random"),
    (tidy.check_homes, "import os\nx = os.urandom(8)", "os.urandom: ask the Random"),
    (tidy.check_homes, "import asyncio\nasyncio.create_task(f())", "asyncio.create_task: spawn"),
    (tidy.check_homes, "asyncio.get_running_loop().create_task(f())", "asyncio.create_task: spawn"),
    (tidy.check_homes, "self._loop.create_task(f())", "asyncio.create_task: spawn"),
    (tidy.check_homes, "import asyncio\nasyncio.run(f())", "asyncio.run: only a command"),
    (tidy.check_homes, "import asyncio\nasyncio.run_coroutine_threadsafe(f(), loop).result()", "can deadlock"),
    (tidy.check_homes, "import threading\nthreading.Thread(target=f).start()", "threads.py starts threads"),
    (tidy.check_homes, "import pickle\nx = pickle.loads(b)", "pickle.loads: the codec"),
    (tidy.check_homes, "eval('1')", "eval: nothing from outside is code"),
    (tidy.check_homes, "import importlib\nimportlib.import_module('x')", "no import by name"),
    (tidy.check_module_state, "handlers = {'a': 1}", "handlers is module-level state"),
    (tidy.check_module_state, "_CACHE: dict[str, int] = {}", "_CACHE is module-level state"),
    (tidy.check_module_state, "from weakref import WeakSet\nSEEN = WeakSet()", "SEEN is module-level state"),
    (tidy.check_optional_imports, "import pydantic", "pydantic is optional"),
    (tidy.check_optional_imports, "from attrs import define", "attrs is optional"),
]


@pytest.mark.parametrize("check, sample, finding", PLANTED)
def test_a_planted_sample_is_found(check, sample, finding):
    assert finding in "\n".join(check(ast.parse(sample), "src/eventseam/delivery/planted.py"))


def test_a_decent_module_breaks_no_rule():
    tree = ast.parse(
        dedent('''
        """Decides nothing."""
        import asyncio
        from datetime import datetime
        from typing import TYPE_CHECKING, Final
        if TYPE_CHECKING:
            import pydantic
        __all__ = ["five"]
        STATES = {"a": 1}
        order: Final = ["a"]

        class Five:
            def five(self, a, b, c, d, e, *more, **named):
                import pydantic
                try:
                    return datetime.fromtimestamp(self.clock.time())
                except ValueError:
                    return None

            async def spawn(self):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.five())
        ''')
    )
    assert [] == [found for check in CORE_CHECKS for found in check(tree, "src/eventseam/delivery/decent.py")]


@pytest.mark.parametrize(
    "home, sample",
    [
        ("clock.py", "import time, random\nx = time.time() + random.random()"),
        ("delivery/tasks.py", "import asyncio\nasyncio.create_task(f())"),
        ("cli/main.py", "import asyncio\nasyncio.run(f())"),
        ("demo/run.py", "import asyncio\nasyncio.run(f())"),
    ],
)
def test_a_home_may_do_what_it_is_the_home_of(home, sample):
    assert [] == tidy.check_homes(ast.parse(sample), "src/eventseam/" + home)


@pytest.mark.parametrize(
    "check, text, path",
    [
        (tidy.check_file_lines_text, "x = 1\n" * 501, "src/eventseam/long.py"),
        (tidy.check_foreign_paths_text, "see ../shared" + "/data", "README.md"),
        (tidy.check_hosts_text, "https://pypi" + ".org/simple", "requirements.lock"),
        (tidy.check_hosts_text, "cd /home" + "/ann/eventseam", "docs/start.md"),
        (tidy.check_adr_lines_text, "a\n" * 61, "docs/adr/0001-long.md"),
    ],
)
def test_a_planted_text_is_found(check, text, path):
    assert 1 == len(check(text, path))


def test_only_the_script_of_ci_may_name_a_folder_beside_the_repository():
    assert [] == tidy.check_foreign_paths_text("orders=../shared" + "/data", ".ci/run")


@pytest.mark.parametrize("path", ["src/eventseam/utils.py", "src/eventseam/common/time.py", "tests/helpers.py"])
def test_a_name_that_says_nothing_is_found(path):
    assert 1 == len(tidy.check_file_name(path))


@pytest.mark.parametrize("name, wrong", [("3.feature.md", 0), ("retry-fix.fix.md", 0), ("news.md", 1), ("3.new.md", 1)])
def test_a_fragment_with_a_wrong_name_is_found(name, wrong):
    assert wrong == len(tidy.check_fragment_name("changes/" + name))


def test_a_third_generation_is_found_across_modules():
    first = ast.parse("class A(Exception): ...\nclass B(A): ...\nclass C(B): ...")
    second = ast.parse("import first\nclass D(first.C): ...")
    assert ["class D has 3 generations above it, at most 2"] == tidy.check_inheritance({"a": first, "b": second})


def test_functions_that_are_mostly_long_are_found():
    tree = ast.parse("\n".join(f"def f{n}():\n" + "    x = 1\n" * 40 for n in range(20)))
    assert 2 == len(tidy.check_function_spread({"long.py": tree}))
