"""Where the services' tables differ by database: only in how they number their rows in the order of insertion."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMBERED = MappingProxyType(
    {
        "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    }
)


def by_dialect(tables: str) -> Mapping[str, str]:
    """`tables` for each database, in which a column declared NUMBERED counts the rows as they are inserted."""
    return {dialect: tables.replace("NUMBERED", how) for dialect, how in NUMBERED.items()}
