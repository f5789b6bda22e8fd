"""How answers look: one JSON document for programs, aligned columns for pipes, and rich tables for people.

Text from messages and errors is untrusted: whatever a terminal would obey is shown as a visible escape instead.
Passwords in URLs are masked, whoever wrote them. rich is imported only when stdout is a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; numbers are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Fields:
    """One thing, told field by field. A value may have several lines."""

    pairs: Sequence[tuple[str, object]]


Block = Table | Fields | str


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a command's answer goes: `as_json` chooses the document, otherwise the blocks are drawn on `stream`."""

    stream: TextIO
    as_json: bool = False

    @property
    def has_person(self) -> bool:
        """Whether somebody looks: stdout is a terminal and no JSON was asked for."""
        return not self.as_json and self.stream.isatty()

    def show(self, document: Mapping[str, object], *blocks: Block) -> None:
        """Give the answer: `document` as JSON, or `blocks` for reading. Raises OSError when nobody takes it."""
        if self.as_json:
            text = json.dumps(document, indent=2, default=str)
        else:
            text = "\n\n".join(_draw(block, self.stream) for block in blocks)
        self.write(text)

    def banner(self, document: Mapping[str, object], line: str) -> None:
        """Say once that something has begun: `document` as JSON, or one line, in colour where a person looks."""
        if not self.has_person:
            self.show(document, line)
            return
        from rich.console import Console
        from rich.text import Text

        Console(file=self.stream).print(Text(printable(line), style="green"))

    def write_bytes(self, body: bytes) -> None:
        """Bytes as they are for a file or a pipe; on a terminal, text in which nothing moves the cursor."""
        if self.stream.isatty() or not hasattr(self.stream, "buffer"):
            self.write(printable(body.decode("utf-8", "backslashreplace"), keep="\n"))
            return
        self.stream.flush()
        self.stream.buffer.write(body)
        self.stream.buffer.flush()

    def write(self, text: str) -> None:
        """Write lines, in the stream's own encoding: what it cannot say becomes an escape."""
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self.stream.flush()


def printable(text: str, *, keep: str = "") -> str:
    """`text` with every character that a terminal could obey (or hide) as a visible escape, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def time_of(unix_seconds: float | None) -> str | None:
    """A time for people and programs alike: RFC 3339 in UTC, to the millisecond."""
    if unix_seconds is None:
        return None
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count_of(number: int, noun: str) -> str:
    """`1 message`, `2 messages`: a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _draw(block: Block, stream: TextIO) -> str:
    """A block as text."""
    match block:
        case str():
            return printable(block, keep="\n")
        case Fields():
            return _fields(block)
        case Table() if stream.isatty():
            return _rich(block, stream)
        case Table():
            return _columns(block)


def _cell(value: object) -> str:
    """A value in a table: on one line, and a dash for nothing."""
    if value is None or value == "":
        return "-"
    return printable(str(value))


def _fields(block: Fields) -> str:
    """Labels in one column; further lines of a value are set under its first."""
    width = max((len(label) for label, _ in block.pairs), default=0)
    glue = "\n" + " " * (width + 2)
    values = (printable("-" if value is None or value == "" else str(value), keep="\n") for _, value in block.pairs)
    return "\n".join(
        f"{label:<{width}}  {value.replace(chr(10), glue)}"
        for (label, _), value in zip(block.pairs, values, strict=True)
    )


def _columns(table: Table) -> str:
    """Aligned columns, two spaces apart, nothing cut off."""
    rows = [list(map(_cell, row)) for row in table.rows]
    widths = [max(map(len, column)) for column in zip(table.columns, *rows, strict=True)]
    right = [_is_number(table, at) for at in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (list(table.columns), *rows)
    )


def _is_number(table: Table, at: int) -> bool:
    """Whether a column holds numbers and nothing else."""
    return bool(table.rows) and all(isinstance(row[at], int | float) for row in table.rows)


def _rich(table: Table, stream: TextIO) -> str:
    """The same table, drawn for the terminal's width."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=stream)
    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(table.columns):
        drawn.add_column(name, justify="right" if _is_number(table, at) else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(_cell(value)) for value in row))
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip("\n")
