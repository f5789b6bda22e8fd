"""Where a shop is: the database of each service, the transport between them if there is one, and the outside.

Both are URLs and may hold passwords: they go to other programs by the environment, never as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventseam.demo.app import SERVICES
from eventseam.demo.outside import VARIABLE

NAMES = tuple(service.name for service in SERVICES)
POSTGRESQL = ("postgresql:", "postgres:")


@dataclass(frozen=True, slots=True)
class Where:
    """URLs by service: one for all, or each service has a database and a process of its own."""

    outside: Path
    databases: Mapping[str, str] = field(repr=False)
    transport: str | None = field(default=None, repr=False)

    @classmethod
    def in_one(cls, url: str, outside: Path) -> Where:
        """All services in one database."""
        return cls(outside, dict.fromkeys(NAMES, url))

    @property
    def is_spread(self) -> bool:
        """Whether each service has a process of its own."""
        return len(set(self.databases.values())) > 1

    @property
    def bus(self) -> str | None:
        """The database in which services meet, if that is what the transport is."""
        return self.transport if self.transport and self.transport.startswith(POSTGRESQL) else None

    @property
    def broker(self) -> str | None:
        """The broker at which services meet, if that is what the transport is."""
        return None if self.bus else self.transport

    @property
    def urls(self) -> tuple[str, ...]:
        """Every database, once."""
        return tuple(dict.fromkeys((*self.databases.values(), *((self.bus,) if self.bus else ()))))

    def environment(self, service: str) -> dict[str, str]:
        """The settings of a process that runs `service`."""
        return {
            "EVENTSEAM_DATABASE": self.databases[service],
            "EVENTSEAM_TRANSPORT": self.transport or "journal:",
            VARIABLE: str(self.outside),
        }


def outside_of(database: Path) -> Path:
    """Where the outside of a shop in a file is: in a file beside its database."""
    return database.parent / f"{database.name}-outside"
