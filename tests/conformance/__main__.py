"""Write the matrix of docs/reference/transports.md from a run of the suite: `python -m tests.conformance`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conformance import page


class Findings:
    """A plugin that notes what each test recorded."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, str]] = {}
        self.broken: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = dict(report.user_properties)
        if "outcome" in found:
            self.results.setdefault(found["transport"], {})[found["scenario"]] = found["outcome"]
        elif report.when == "call":
            self.broken.append(report.nodeid)


def main() -> int:
    findings = Findings()
    tests = str(Path(__file__).with_name("test_transports.py"))
    pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=no", tests], plugins=[findings])
    if findings.broken or not findings.results:
        print("not written: these failed", *findings.broken, sep="\n  ")
        return 1
    page.write(findings.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
