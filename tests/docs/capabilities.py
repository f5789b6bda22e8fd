"""The tables of docs/reference/capabilities.md, from what the code declares.

`python -m tests.docs.capabilities` writes them. Above them the page says what cannot be declared.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from eventseam.app.capabilities import OURS
from eventseam.ports.transport import Feature
from eventseam.transports.kafka import CAPABILITIES
from eventseam.transports.memory_server import PROFILES
from tests.docs.snippets import ROOT

if TYPE_CHECKING:
    from eventseam.ports.transport import Capabilities

PAGE = ROOT / "docs" / "reference" / "capabilities.md"
MARK = "<!-- the tables: written by `python -m tests.docs.capabilities` -->\n"


def ways() -> dict[str, Capabilities]:
    """Every way that messages can go, by the name that the page has for it."""
    profiles = {f"memory: {name}": profile.capabilities for name, profile in PROFILES.items()}
    return {**OURS, "Kafka": CAPABILITIES, **profiles}


def tables() -> str:
    """What each can do, then the small print."""
    found = ways()
    yes = [[name, *("yes" if each in can.features else "no" for each in Feature)] for name, can in found.items()]
    print_ = [
        [name, can.durable, can.order, can.redelivery, can.dedup, can.age_max, f"{can.body_bytes_max:,}"]
        for name, can in found.items()
    ]
    head = ["", "durable on", "order", "redelivery", "dedup", "maximum age", "bytes of a body"]
    return f"{_table(['', *(f'`{each}`' for each in Feature)], yes)}\n{_table(head, print_)}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    above, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(f"{above}{MARK}\n{tables()}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
