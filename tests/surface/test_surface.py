"""What users may rely on: the names of `eventseam`, their documentation, and what importing them costs.

After a change on purpose: `python -m tests.surface` writes public_names.txt again.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import eventseam

PINNED = Path(__file__).with_name("public_names.txt")

# Users who need none of it pay for none of it.
HEAVY = (
    "aiohttp", "argparse", "attr", "attrs", "cloudevents", "concurrent.futures.process", "http.server", "hypothesis",
    "pydantic", "pydantic_core", "pytest", "rich", "sqlalchemy", "unittest", "urllib.request",
)  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after `statement` and did not hold before."""
    script = (
        f"import sys, json; before = set(sys.modules); {statement}; print(json.dumps([*set(sys.modules) - before]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_public_names_are_the_pinned_ones():
    assert PINNED.read_text(encoding="utf-8").split() == sorted(eventseam.__all__)


@pytest.mark.parametrize("name", sorted(eventseam.__all__))
def test_a_public_name_exists_and_is_documented(name):
    public = getattr(eventseam, name)
    if isinstance(public, type) or inspect.isroutine(public):  # an alias of a type cannot carry one
        assert (public.__doc__ or "").strip()


def test_a_public_class_has_a_docstring_of_its_own():
    classes = [c for c in map(eventseam.__dict__.get, eventseam.__all__) if isinstance(c, type)]
    generated = [c.__name__ for c in classes if (c.__doc__ or "").startswith(f"{c.__name__}(")]
    assert [] == generated


def test_importing_eventseam_loads_nothing_that_its_user_may_not_need():
    assert set() == loaded_by("import eventseam") & {*HEAVY, "asyncio", "msgspec", "sqlite3", "logging"}


def test_using_every_public_name_loads_nothing_that_its_user_may_not_need():
    assert set() == loaded_by("from eventseam import *") & {*HEAVY, "sqlite3"}


def test_a_module_of_contracts_and_handlers_does_not_pay_for_the_engine():
    assert set() == loaded_by("from eventseam import Channel, Ctx, Retry, Service") & {*HEAVY, "asyncio", "sqlite3"}


def test_a_misspelt_name_is_refused_as_in_any_module():
    with pytest.raises(AttributeError, match="has no attribute 'Chanel'"):
        getattr(eventseam, "Chanel")  # noqa: B009 - as an import would do it


def test_every_public_name_comes_from_the_one_import():
    script = "from eventseam import *; print(*(name for name in dir() if not name.startswith('_')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = {name for name in eventseam.__all__ if not name.startswith("_")}
    assert names == set(done.stdout.split())
