"""`eventseam demo`: hands over to the shop of `eventseam.demo`, which is imported only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.cli.exits import Exit
from eventseam.cli.parsing import Command

if TYPE_CHECKING:
    import argparse

    from eventseam.cli.render import Screen


def _arguments(parser: argparse.ArgumentParser) -> None:
    """The shop's own options."""
    from eventseam.demo.cli import add_arguments

    add_arguments(parser)


def _run(args: argparse.Namespace, _screen: Screen) -> int:
    """Run the shop; it draws its own screen."""
    from eventseam.demo.cli import main

    return main(args)


COMMAND = Command(
    name="demo",
    summary="a shop of six services through an outage, by calls and by events",
    details=(
        "Run the same orders through a synchronous chain of calls and through events, side by side,\n"
        "while payments is down in the middle. Ends with one table that compares the two."
    ),
    examples=(
        "eventseam demo",
        "eventseam demo --outage 30 --report report.json",
        "eventseam demo --only events --database sqlite:///demo.db",
        "eventseam demo --database postgresql:embedded",
        "eventseam demo --only events --database postgresql://shop@localhost/shop --processes",
        "eventseam demo --database postgresql:embedded --processes --transport kafka:embedded",
    ),
    arguments=_arguments,
    run=_run,
    exits=(Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE),
)
