"""How every test runs: coroutines on a plain loop, and no skip that nobody sees."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.docs import snippets

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["eventseam.testing.fixtures"]  # postgres_server, postgres_url

# Noise of a busy machine is no finding; a failing example is printed so that it can be replayed.
settings.register_profile("eventseam", deadline=None, print_blob=True)
settings.load_profile("eventseam")


def _on_a_loop(test: Callable[..., object]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**arguments: object) -> None:
        asyncio.run(test(**arguments), debug=False)

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests, also those that hypothesis calls, each on a loop of its own."""
    test = pyfuncitem.obj
    by_hypothesis = getattr(test, "hypothesis", None)
    if by_hypothesis and inspect.iscoroutinefunction(by_hypothesis.inner_test):
        by_hypothesis.inner_test = _on_a_loop(by_hypothesis.inner_test)
        return None
    if not inspect.iscoroutinefunction(test):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    _on_a_loop(test)(**{name: pyfuncitem.funcargs[name] for name in names})
    return True


def _skipped(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return list(reporter.stats.get("skipped", [])) if reporter else []


def _reason(report: pytest.TestReport) -> str:
    where_and_why = report.longrepr
    why = where_and_why[2] if isinstance(where_and_why, tuple) else str(where_and_why)
    return why.removeprefix("Skipped: ")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With CI set, a skipped test fails the run: what was not tested did not pass."""
    if exitstatus == pytest.ExitCode.OK and os.environ.get("CI") and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in the last lines what did not run, and why."""
    skipped = _skipped(config)
    reasons = sorted({_reason(report) for report in skipped})
    failing = " (fails, because CI is set)" if skipped and os.environ.get("CI") else ""
    terminalreporter.write_line(f"python {sys.version.split()[0]}; {snippets.summary()}")
    terminalreporter.write_line(f"skipped: {len(skipped)}{failing}" + "".join(f"\n  - {reason}" for reason in reasons))
