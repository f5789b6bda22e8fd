"""The page of capabilities says what the code declares; and the suite asks of each transport what it declares."""

from __future__ import annotations

from eventseam.app.capabilities import OURS
from eventseam.ports.transport import Feature
from tests.conformance.journal import FEATURES
from tests.docs.capabilities import MARK, PAGE, tables


def test_the_page_has_the_tables_that_the_code_declares():
    _, _, found = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert found.strip() == tables().strip(), "run: python -m tests.docs.capabilities"


def test_every_feature_is_told_on_the_page():
    above, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert [] == [each for each in Feature if f"`{each}`" not in above]


def test_the_suite_asks_of_our_own_ways_what_they_declare():
    by_slots = {Feature.BLOCKS}  # the suite asks for it where there are several
    assert [] == [name for name, can in OURS.items() if can.features - by_slots != FEATURES]
