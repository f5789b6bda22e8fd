"""Where a shop is: the database of each service, the bus between them if there is one, and the outside.

Databases are URLs and may hold passwords: they go to other programs by the environment, never as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventseam.demo.app import SERVICES
from eventseam.demo.outside import VARIABLE

NAMES = tuple(service.name for service in SERVICES)


@dataclass(frozen=True, slots=True)
class Where:
    """URLs by service. With a `bus`, each service has a database and a process of its own."""

    outside: Path
    databases: Mapping[str, str] = field(repr=False)
    bus: str | None = field(default=None, repr=False)

    @classmethod
    def in_one(cls, url: str, outside: Path) -> Where:
        """All services in one database."""
        return cls(outside, dict.fromkeys(NAMES, url))

    @property
    def urls(self) -> tuple[str, ...]:
        """Every database, once."""
        return tuple(dict.fromkeys((*self.databases.values(), *((self.bus,) if self.bus else ()))))

    def environment(self, service: str) -> dict[str, str]:
        """The settings of a process that runs `service`."""
        settings = {"EVENTSEAM_DATABASE": self.databases[service], VARIABLE: str(self.outside)}
        return settings | ({"EVENTSEAM_TRANSPORT": self.bus} if self.bus else {})


def outside_of(database: Path) -> Path:
    """Where the outside of a shop in a file is: in a file beside its database."""
    return database.parent / f"{database.name}-outside"
