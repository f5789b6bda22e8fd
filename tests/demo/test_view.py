"""What a person sees says the same as the numbers."""

from __future__ import annotations

import io
from decimal import Decimal

from rich.console import Console

from eventseam.demo.board import Board, Counts
from eventseam.demo.report import EventsPart, OrdersPart, OutagePart, ReadModelPart, Report, SynchronousPart
from eventseam.demo.view import drawn, line, showing, summary, verdict

BOARD = Board(
    100,
    chain=Counts(accepted=40, confirmed=35, items_unavailable=3, payment_failed=2, failed=9),
    events=Counts(accepted=50, confirmed=30, items_unavailable=3, payment_failed=2),
    outage="down",
    seconds=12.34,
)
REPORT = Report(
    OrdersPart(4049, 4049, 3287, 545, 217),
    SynchronousPart(4049, 3100, 949, 2400, 500, 200, Decimal("400000.10"), Decimal("135334.87")),
    OutagePart(5.0, 5.002, 812, 1.25),
    EventsPart(19_000, 31_000, 12, 3, 0, 0, 0, 0),
    ReadModelPart(Decimal("535334.97"), {"SP": Decimal("535334.97")}),
    {"all is well": True},
)


def text_of(renderable, width=110):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def test_counts_derive_from_each_other():
    assert (49, 5, 0) == (BOARD.chain.offered, BOARD.chain.rejected, BOARD.chain.undecided)
    assert 15 == BOARD.events.undecided
    assert 50 == BOARD.offered


def test_a_line_names_both_shops_and_the_outage():
    text = line(BOARD)
    assert "chain: 49 came, 35 confirmed, 5 rejected, 0 undecided, 9 turned away" in text
    assert "events: 50 came" in text
    assert "payments is DOWN" in text


def test_the_panels_stand_side_by_side_under_the_banner():
    rows = text_of(drawn(BOARD), width=80).splitlines()
    assert "PAYMENTS IS DOWN" in rows[0]
    assert "a chain of HTTP calls" in rows[1]
    assert "events" in rows[1]
    assert ["customers", "49", "/", "100", "customers", "50", "/", "100"] == rows[3].replace("│", "").split()


def test_a_file_gets_a_line_every_few_seconds():
    console = Console(file=io.StringIO(), width=200)
    with showing(console) as show:
        for tenth in range(100):
            show(Board(10, events=Counts(accepted=5), seconds=tenth / 10))
    assert 4 == console.file.getvalue().count("events: 5 came")


def test_the_table_compares_both():
    rows = text_of(summary(REPORT)).splitlines()
    assert any("turned away" in row and "949" in row and row.rstrip().endswith("0") for row in rows)
    assert any("revenue" in row and "400,000.10" in row and "535,334.97" in row for row in rows)
    assert any("0 / 0 / 0" in row for row in rows)


def test_a_shop_that_was_not_run_has_dashes():
    only = Report(None, REPORT.synchronous, REPORT.outage, None, None, {})
    assert any("confirmed" in row and row.rstrip().endswith("-") for row in text_of(summary(only)).splitlines())


def test_a_check_that_fails_is_said():
    bad = Report(None, None, REPORT.outage, None, None, {"one is one": True, "one is two": False})
    assert "NOT TRUE: one is two" in text_of(verdict(bad))
    assert not bad.is_good
