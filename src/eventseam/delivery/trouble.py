"""Trouble of the database where nothing is applied: told once for each error, or else nobody would hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.ports.probe import StorageTrouble

if TYPE_CHECKING:
    from eventseam.errors import StorageError
    from eventseam.ports.probe import Probe


class Trouble:
    """What one loop has told of the trouble that it waits out."""

    def __init__(self, probe: Probe | None) -> None:
        """Begin without any."""
        self._probe = probe
        self._told = ""

    def tell(self, error: StorageError, delay_seconds: float) -> None:
        """Tell of an error, unless it is the one that was told last."""
        if self._probe is not None and str(error) != self._told:
            self._probe.observe(StorageTrouble(str(error), delay_seconds))
        self._told = str(error)

    def is_over(self) -> None:
        """Whatever comes next is new."""
        self._told = ""
