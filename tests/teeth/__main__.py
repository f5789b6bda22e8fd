"""Plays one scenario, with a planted bug or without: `python -m tests.teeth SCENARIO [PLANT]`; alone, prints the table.

It is a process of its own, without threads, so that acts can be forked from it. Exit code 0: the guarantee held.
3: it was broken, the finding is on standard output. Anything else is an error of the scenario itself.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from eventseam import Seams, Settings
from eventseam.app.stores import open_store
from eventseam.storage import catalog
from tests.teeth import plants
from tests.teeth.stage import Stage
from tests.teeth.table import BITES, SCENARIOS

FOUND = 3


def _warm_up() -> None:
    """Load what every act loads, here and once; forked processes need not copy what is never freed."""
    open_store(Settings(), Seams())
    catalog.statements("sqlite")
    gc.freeze()


def main(arguments: list[str]) -> int:
    if not arguments:
        for bite in BITES:
            print(f"{bite.plant.__name__:34} {bite.scenario.__name__:54} {bite.finding}")
        return 0
    scenario = {each.__name__: each for each in SCENARIOS}[arguments[0]]
    plant = getattr(plants, arguments[1]) if len(arguments) > 1 else nullcontext
    _warm_up()
    with tempfile.TemporaryDirectory(prefix="teeth-") as folder:
        stage = Stage(Path(folder))
        try:
            with plant():
                scenario(stage)
        except AssertionError as finding:
            print(finding)
            return FOUND
        finally:
            stage.clear()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
