"""What a run found, as text, Markdown and JSON; and the machine that it was found on."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.measure import Comparison, Outcome, Spread

PACKAGES = ("msgspec", "pydantic", "attrs", "faststream", "bubus", "blinker")
ON_POSTGRESQL = ("msgspec", "asyncpg", "psycopg", "sqlalchemy", "faststream")
ON_KAFKA = ("msgspec", "asyncpg", "confluent-kafka", "faststream", "pydantic")
_SYNCS = 50
_WITH_UNIT = ("difference", "value")
BEGIN, END = "<!-- results of {}: written by `make bench` -->", "<!-- /results of {} -->"


@dataclass(frozen=True)
class Report:
    """One run. `grown` is what the case `memory` found, if it ran."""

    machine: dict[str, Any]
    rounds: int
    outcomes: Sequence[Outcome]
    grown: dict[str, Any] | None


class Line(NamedTuple):
    """One line of the table of what must be reached."""

    what: str
    must: str
    measured: str
    reached: bool


def machine(folder: Path, database: str = "", packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Where this runs, and how busy it is: without this a figure means nothing."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "sync_us": _sync_us(folder),
        "database": database or f"SQLite {sqlite3.sqlite_version}",
        "packages": {name: version(name) for name in packages},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def case_text(outcome: Outcome) -> str:
    """A case as a Markdown table, and what its comparisons say."""
    case = outcome.case
    columns = ("CPU us", "server us") if outcome.cpu_us else ()
    notes = ("what it does",) if any(each.note for each in case.variants) else ()
    head = (case.title, f"median {case.unit}", "min .. max", f"{case.per}s/s", *columns, *notes)
    rows: list[tuple[str, ...]] = []
    for each in case.variants:
        found = outcome.variants[each.name]
        used = [_used(table, each.name) for table in (outcome.cpu_us, outcome.server_us)] if columns else []
        rows.append(
            (each.name, *_spread(found, case.unit), _rate(found, case.unit), *used, *([each.note] if notes else []))
        )
    tables = [_table(head, rows)]
    if case.comparisons:
        lines = [(each.name, *_compared(each, outcome, case.unit)) for each in case.comparisons]
        tables.append(_table(("paired inside a round", "median", "min .. max"), lines))
    return f"\n## {case.name}\n\n" + "\n\n".join(tables)


def memory_text(grown: dict[str, Any]) -> str:
    """The resident size at each step."""
    rows = [(f"{count:,}", f"{size:.1f}") for count, size in grown["resident_mib"]]
    rate = grown["messages"] / grown["seconds"]
    note = (
        f"{grown['messages']:,} messages in {grown['seconds']:.0f} s ({rate:,.0f}/s, published, handled and trimmed in "
        f"one process); the largest size from a fifth of the way on is {grown['growth']:.3f} of the size there; "
        f"the database file is {grown['database_mib']:.0f} MiB at the end."
    )
    return f"\n## memory\n\n{_table(('messages handled', 'resident MiB'), rows)}\n\n{note}"


def must_text(report: Report) -> str:
    """The table of what must be reached, with a loud line for each miss."""
    lines = list(_musts(report))
    if not lines:
        return ""
    rows = [(each.what, each.must, each.measured, "yes" if each.reached else "NO") for each in lines]
    text = f"\n## Must reach\n\n{_table(('what', 'must', 'measured (median)', 'reached'), rows)}"
    missed = [f"MISSED: {each.what}: {each.measured}, must be {each.must}" for each in lines if not each.reached]
    return "\n".join([text, *([""] if missed else []), *missed])


def save(report: Report, path: Path) -> None:
    """Write `path`.json with every round and `path`.md with the tables."""
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(_data(report), indent=1) + "\n", encoding="utf-8")
    cases = [case_text(each) for each in report.outcomes]
    if report.grown:
        cases.append(memory_text(report.grown))
    head = f"# Results of `make bench`\n\n{_machine_text(report)}\n"
    path.with_suffix(".md").write_text("\n".join([head + must_text(report), *cases]) + "\n", encoding="utf-8")
    print(f"\nwritten: {path.parent.name}/{path.name}.json and .md", file=sys.stderr)


def save_page(report: Report, page: Path, name: str) -> None:
    """Put the table of what must be reached, and the machine, between the marks that a page has for these results."""
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    table = must_text(report).partition("Must reach")[2].partition("MISSED")[0].strip()
    page.write_text(f"{before}{begin}\n{_machine_text(report)}\n\n{table}\n{end}{after}", encoding="utf-8")


def _machine_text(report: Report) -> str:
    here = report.machine
    packages = ", ".join(f"{name} {number}" for name, number in here["packages"].items())
    return (
        f"{here['date']}, {here['python']}, {here['database']}, {here['system']}, {here['cores']} cores of "
        f"{here['processor']}; load {here['load']:.1f} at the start; one synced write takes {here['sync_us']:.0f} us. "
        f"{report.rounds} rounds; variants take turns. {packages}."
    )


def _data(report: Report) -> dict[str, Any]:
    cases = [
        {
            "name": each.case.name,
            "unit": f"{each.case.unit} per {each.case.per}",
            "variants": {name: _rounded(found) for name, found in each.variants.items()},
            "cpu_us": {name: _rounded(found) for name, found in each.cpu_us.items()},
            "server_us": {name: _rounded(found) for name, found in each.server_us.items()},
            "comparisons": {name: _rounded(found) for name, found in each.comparisons.items()},
        }
        for each in report.outcomes
    ]
    must = [each._asdict() for each in _musts(report)]
    return {"machine": report.machine, "rounds": report.rounds, "must": must, "cases": cases, "memory": report.grown}


def _rounded(found: Spread) -> dict[str, Any]:
    return {
        "median": round(found.median, 3),
        "min": round(found.least, 3),
        "max": round(found.most, 3),
        "rounds": [round(value, 3) for value in found.rounds],
    }


def _musts(report: Report) -> Iterable[Line]:
    for outcome in report.outcomes:
        for each in outcome.case.comparisons:
            reached = each.is_reached(outcome.comparisons[each.name].median)
            if reached is not None:
                measured, _ = _compared(each, outcome, outcome.case.unit)
                unit = f" {outcome.case.unit}" if each.kind in _WITH_UNIT else ""
                bound = f"{'>=' if each.kind == 'ratio' else '<='} {each.must:g}{unit}"
                yield Line(each.name, bound, measured, reached)
        for fact in outcome.facts:
            yield Line(*fact)
    if report.grown:
        what = f"memory over {report.grown['messages']:,} messages"
        yield Line(what, "flat (<= 1.10)", f"{report.grown['growth']:.3f}", report.grown["is_flat"])


def _spread(found: Spread, unit: str) -> tuple[str, str]:
    digits = 1 if unit == "ms" or found.median >= 100 else 2
    return f"{found.median:,.{digits}f}", f"{found.least:,.{digits}f} .. {found.most:,.{digits}f}"


def _used(table: dict[str, Spread], name: str) -> str:
    return f"{table[name].median:,.1f}" if name in table else ""


def _rate(found: Spread, unit: str) -> str:
    return f"{(1e3 if unit == 'ms' else 1e6) / found.median:,.0f}"


def _compared(comparison: Comparison, outcome: Outcome, unit: str) -> tuple[str, str]:
    found = outcome.comparisons[comparison.name]
    mark = f" {unit}" if comparison.kind in _WITH_UNIT else ""
    return f"{found.median:.2f}{mark}", f"{found.least:.2f} .. {found.most:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also straight as plain text."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - no path of ours
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "an unknown processor"


def _sync_us(folder: Path) -> float:
    """What one synced write of a page costs on this disk."""
    path = folder / ".work-sync"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        began = time.perf_counter()
        for _ in range(_SYNCS):
            os.write(file, b"\0" * 4096)
            os.fsync(file)
        return (time.perf_counter() - began) / _SYNCS * 1e6
    finally:
        os.close(file)
        path.unlink()
