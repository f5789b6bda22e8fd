"""The fenced blocks of README.md and docs/**/*.md, as steps that a page runner can execute.

- ```python blocks of one page share a namespace, in order; `await` at top level is fine. A block whose first line is
  `# shop.py` is also saved under that name, so that a console block can use it.
- ```console blocks: lines after `$ ` are run in the same folder; what follows is output for the reader. `make` lines
  are not run (they would run the tests again) but their target must exist.
- `<!-- not-run: why -->` on the line before a block keeps it from running. Every such block is counted and listed.
- Other languages (text, sql, json, toml, ...) are for reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

OPENING = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>[\w+-]*)")
NOT_RUN = re.compile(r"^\s*<!--\s*not-run:\s*(?P<reason>.*?)\s*-->\s*$")
FILE_NAME = re.compile(r"^# (?P<name>[\w/]+\.py)$")
COMMANDS = frozenset({"eventseam", "seam", "python", "cat", "cd", "curl", "echo", "export", "ls", "sleep", "sqlite3"})


class PageError(Exception):
    """A page holds a block that can be neither run nor read."""


@dataclass(frozen=True)
class Block:
    """One fenced block: `line` is that of its first line of content, counted from 1."""

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in {"python", "console"} and not self.not_run

    @property
    def file_name(self) -> str:
        match = FILE_NAME.match(self.text.partition("\n")[0])
        return match["name"] if match else ""

    def commands(self) -> list[str]:
        """The lines after `$ `, each with its continuation lines."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def pages(root: Path = ROOT) -> list[Path]:
    """README.md, if it is there, and all of docs/."""
    readme = root / "README.md"
    return [path for path in (readme, *sorted((root / "docs").rglob("*.md"))) if path.is_file()]


def blocks(text: str, page: str) -> list[Block]:
    """Every fenced block of a page. Raises PageError at a fence that never closes."""
    found: list[Block] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opening = OPENING.match(lines[at])
        if not opening:
            at += 1
            continue
        end = _closing(lines, at, opening["fence"], page)
        indent = len(opening["indent"])
        body = "".join(line[indent:] + "\n" for line in lines[at + 1 : end])
        found.append(Block(page, at + 2, opening["language"], body, _reason_above(lines, at)))
        at = end + 1
    return found


def _closing(lines: list[str], opened: int, fence: str, page: str) -> int:
    for at in range(opened + 1, len(lines)):
        if lines[at].strip() == fence:
            return at
    message = f"{page}:{opened + 1}: the block never closes; end it with {fence}"
    raise PageError(message)


def _reason_above(lines: list[str], opened: int) -> str:
    above = [line for line in lines[:opened] if line.strip()][-1:]
    match = NOT_RUN.match(above[0]) if above else None
    return match["reason"] if match else ""


def make_targets(root: Path = ROOT) -> set[str]:
    """The targets that a reader may be told to make."""
    return set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def steps(page_blocks: list[Block], targets: set[str]) -> list[dict[str, object]]:
    """What the page runner shall do, in order. Raises PageError where a console block cannot be run."""
    return [
        {"page": b.page, "line": b.line, "python": b.text, "file": b.file_name}
        if b.language == "python"
        else {"page": b.page, "line": b.line, "console": _runnable(b, targets)}
        for b in page_blocks
        if b.runs
    ]


def _runnable(block: Block, targets: set[str]) -> list[str]:
    runnable = []
    for command in block.commands():
        words = command.split()
        first = next(word for word in words if "=" not in word)
        if first == "make":
            if unknown := [w for w in words[1:] if re.fullmatch("[a-z]+", w) and w not in targets]:
                message = f"{block.place}: `{command}`: no such target: {', '.join(unknown)}"
                raise PageError(message)
        elif first in COMMANDS:
            runnable.append(command)
        else:
            message = f"{block.place}: `{command}` is not run here; write <!-- not-run: why --> above the block"
            raise PageError(message)
    return runnable


def all_blocks(root: Path = ROOT) -> list[Block]:
    return [b for p in pages(root) for b in blocks(p.read_text(encoding="utf-8"), p.relative_to(root).as_posix())]


def summary(root: Path = ROOT) -> str:
    """One line for the end of a test run; the blocks that do not run are named with their reasons."""
    found = all_blocks(root)
    kept = [b for b in found if b.not_run]
    line = f"docs: {sum(b.runs for b in found)} blocks run, {len(kept)} not"
    return line + "".join(f"\n  - {b.place}: {b.not_run}" for b in kept)
