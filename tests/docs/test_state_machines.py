"""The drawn state machines are the ones in the code, arrow by arrow."""

from __future__ import annotations

import re

import pytest

from eventseam.delivery import circuit, unsettled
from tests.docs import snippets

PAGE = "docs/explanation/how-it-works.md"
ARROW = re.compile(r"(\S+) --> (\S+): (.+)")


def drawn(name: str) -> dict[tuple[str, str], str]:
    """The arrows of the drawing that has `%% name` in it, in the form of a transition table."""
    found = [b.text for b in snippets.blocks((snippets.ROOT / PAGE).read_text(encoding="utf-8"), PAGE)]
    (drawing,) = [text for text in found if f"%% {name}\n" in text]
    arrows = (ARROW.fullmatch(line.strip().replace("[*]", "-")) for line in drawing.splitlines() if "-->" in line)
    return {(arrow[1], arrow[3]): arrow[2] for arrow in arrows}


@pytest.mark.parametrize("name, table", [("unsettled", unsettled.TRANSITIONS), ("circuit", circuit.TRANSITIONS)])
def test_the_drawing_shows_every_transition_and_no_other(name, table):
    assert dict(table) == drawn(name)
