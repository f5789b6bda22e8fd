"""The matrix in docs/reference/transports.md: what a run found, and what the page says."""

from __future__ import annotations

from pathlib import Path

from eventseam.testing.conformance import matrix

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "transports.md"
_BEGIN = "<!-- the matrix: written by `python -m tests.conformance` -->\n"


def write(results: dict[str, dict[str, str]]) -> None:
    """Put a run's table in the place of the page's."""
    above, _, _ = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    PAGE.write_text(above + _BEGIN + "\n" + matrix(results), encoding="utf-8")


def said(transport: str, sentence: str) -> str | None:
    """What the page says of a scenario on a transport; None where it does not name one of them."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    names = rows[0] if rows else []
    line = next((row for row in rows if row[0] == sentence), None)
    return line[names.index(transport)] if line and transport in names else None
