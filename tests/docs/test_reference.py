"""The reference pages list what is in the code, all of it and nothing else; links and named files exist."""

from __future__ import annotations

import inspect
import re
import sqlite3
from contextlib import closing
from dataclasses import fields

import pytest

import eventseam
from eventseam import Envelope, EventseamError, NotYet, Refused, Seams, Settings
from eventseam.storage.sqlite import SqliteStore
from tests.docs import snippets

ROOT = snippets.ROOT
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, without the lines that head them."""
    found: list[list[str]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            continue
        if set("".join(cells)) <= set("-:"):
            found.pop()
        else:
            found.append(cells)
    return found


def test_every_setting_is_listed_with_its_default_in_order():
    declared = [(f"`EVENTSEAM_{f.name.upper()}`", f"`{getattr(Settings(), f.name)}`") for f in fields(Settings)]
    assert declared == [(name, default) for name, default, _ in rows(page("settings.md"))]


def test_every_error_and_answer_is_listed_once():
    public = {name: getattr(eventseam, name) for name in eventseam.__all__}
    declared = {
        name
        for name, value in public.items()
        if inspect.isclass(value) and issubclass(value, (EventseamError, Refused, NotYet))
    }
    assert sorted(declared) == sorted(row[0].strip("`") for row in rows(page("errors.md")))


async def test_every_table_is_listed_with_its_columns_in_order(tmp_path):
    store = SqliteStore(str(tmp_path / "db"), Seams())
    await store.migrate()
    await store.close()
    with closing(sqlite3.connect(tmp_path / "db")) as look:
        names = [row[0] for row in look.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        declared = {
            name: [row[1] for row in look.execute(f"PRAGMA table_info({name})")]
            for name in names
            if not name.startswith("sqlite_")
        }
    sections = (section.partition("\n") for section in page("tables.md").split("\n## ")[1:])
    assert declared == {name: [row[0].strip("`") for row in rows(text)] for name, _, text in sections}


def test_every_field_of_the_envelope_is_listed_in_order():
    assert list(Envelope.__struct_fields__) == [row[0].strip("`") for row in rows(page("envelope.md"))]


@pytest.mark.parametrize("path", snippets.pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_to_a_heading(path):
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    assert [] == [link for link in LINK.findall(text) if not leads_somewhere(path, link)]


def leads_somewhere(path, link):
    """Whether a relative link names a file, and its anchor a heading there."""
    if "://" in link:
        return True
    name, _, anchor = link.partition("#")
    aim = (path.parent / name).resolve() if name else path
    return aim.exists() and (not anchor or anchor in anchors(aim.read_text(encoding="utf-8")))


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings have."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    here = tmp_path / "page.md"
    here.write_text("# The page\n\n## On your own `x`\n", encoding="utf-8")
    assert leads_somewhere(here, "#on-your-own-x")
    assert leads_somewhere(here, "page.md#the-page")
    assert not leads_somewhere(here, "#elsewhere")
    assert not leads_somewhere(here, "other.md")
