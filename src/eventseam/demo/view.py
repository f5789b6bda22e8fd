"""What a person sees: two panels side by side while it runs, one table at the end; plain lines where nobody looks."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from eventseam.demo.board import Board, Counts
    from eventseam.demo.report import OrdersPart, ReadModelPart, Report, SynchronousPart

PLAIN_SECONDS = 3.0
PANEL_WIDTH = 39  # two of them fit into 80 columns

CHAIN = "a chain of HTTP calls"
EVENTS = "events"

BANNERS = {
    "before": Text("All services are up.", style="green"),
    "down": Text("PAYMENTS IS DOWN", style="bold white on red"),
    "over": Text("Payments is up again.", style="green"),
}


@contextmanager
def showing(console: Console) -> Generator[Callable[[Board], None]]:
    """A function that shows a board: drawn in place for a person, a line every few seconds for a file."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield lambda board: live.update(drawn(board))


def drawn(board: Board) -> RenderableType:
    """The board as two panels under a banner."""
    panels = [
        _panel(title, shop, board.total) for title, shop in ((CHAIN, board.chain), (EVENTS, board.events)) if shop
    ]
    return Group(BANNERS[board.outage], Columns(panels))


def _panel(title: str, shop: Counts, total: int) -> Panel:
    numbers = Table.grid(padding=(0, 1))
    numbers.add_column(width=20)
    numbers.add_column(justify="right", width=14)
    numbers.add_row("customers", f"{shop.offered:,} / {total:,}")
    numbers.add_row("confirmed", f"{shop.confirmed:,}", style="green")
    numbers.add_row("rejected", f"{shop.rejected:,}")
    numbers.add_row("accepted, undecided", f"{shop.undecided:,}", style="yellow" if shop.undecided else "")
    numbers.add_row("turned away", f"{shop.failed:,}", style="bold red" if shop.failed else "")
    inside = Table.grid()
    inside.add_row(ProgressBar(total=total, completed=shop.offered, width=PANEL_WIDTH - 4))
    inside.add_row(numbers)
    return Panel(inside, title=title, width=PANEL_WIDTH)


class _Lines:
    """The same, for a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def show(self, board: Board) -> None:
        if board.seconds < self._next:
            return
        self._next = board.seconds + PLAIN_SECONDS
        self._console.print(line(board), soft_wrap=True, highlight=False)


def line(board: Board) -> str:
    """The board on one line."""
    shops = [f"{name}: {_said(shop)}" for name, shop in (("chain", board.chain), ("events", board.events)) if shop]
    payments = "  payments is DOWN" if board.outage == "down" else ""
    return f"{board.seconds:6.1f} s  " + "  |  ".join(shops) + payments


def _said(shop: Counts) -> str:
    return (
        f"{shop.offered} came, {shop.confirmed} confirmed, {shop.rejected} rejected, "
        f"{shop.undecided} undecided, {shop.failed} turned away"
    )


def summary(report: Report) -> Table:
    """The one table at the end."""
    table = Table(title="The same orders, twice", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("")
    for title in (CHAIN, EVENTS):
        table.add_column(title, justify="right")
    for label, chain, events in _rows(report):
        table.add_row(label, _cell(chain), _cell(events))
    return table


Cell = int | Decimal | str | None

BOTH = (
    "customers who ordered",
    "turned away with an error",
    "confirmed",
    "rejected: items unavailable",
    "rejected: payment failed",
    "revenue",
)


def _rows(report: Report) -> Iterator[tuple[str, Cell, Cell]]:
    """Label, chain, events."""
    yield from zip(BOTH, _of_chain(report.synchronous), _of_events(report.orders, report.read_model), strict=True)
    events, outage = report.events, report.outage
    if events is None:
        return
    wrong = f"{events.lost} / {events.duplicated} / {events.out_of_order}"
    yield f"accepted while payments was down ({outage.lasted_seconds:.1f} s)", None, outage.accepted_during
    yield "payments is back: all of them decided after", None, f"{outage.recovered_after_seconds:.1f} s"
    yield "events published / handled", None, f"{events.published:,} / {events.handled:,}"
    yield "attempts that failed and were made again", None, events.retries
    yield "lost / duplicated / out of order, says the audit", None, wrong
    yield "dead letters", None, events.dead_letters


def _of_chain(part: SynchronousPart | None) -> Sequence[Cell]:
    if part is None:
        return [None] * len(BOTH)
    rejected = (part.rejected_items_unavailable, part.rejected_payment_failed)
    return (part.offered, part.failed, part.confirmed, *rejected, part.revenue)


def _of_events(part: OrdersPart | None, model: ReadModelPart | None) -> Sequence[Cell]:
    if part is None or model is None:
        return [None] * len(BOTH)
    rejected = (part.rejected_items_unavailable, part.rejected_payment_failed)
    return (part.offered, part.offered - part.accepted, part.confirmed, *rejected, model.revenue)


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,}"


def verdict(report: Report) -> Text:
    """One line for each check that failed, or one that all hold."""
    wrong = [check for check, holds in report.checks.items() if not holds]
    if not wrong:
        return Text(f"All {len(report.checks)} checks hold, recomputed from the orders themselves.", style="green")
    return Text("\n".join(f"NOT TRUE: {check}" for check in wrong), style="bold red")
