"""What the migrations make of a database, one line for each thing, and what is really there: to find what has drifted.

The lines that are expected are kept beside the migrations, in `schema.txt`. They leave out what may differ between two
databases that are equally good: defaults, the order of columns, the definitions that each server version prints anew.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eventseam.ports.sql import Sql


class Drift(NamedTuple):
    """Lines that are expected and not there; lines that are there and not expected, within tables of ours."""

    missing: list[str]
    foreign: list[str]


def expected(dialect: str) -> frozenset[str]:
    """What all migrations of a dialect make."""
    file = resources.files("eventseam.storage") / "migrations" / dialect / "schema.txt"
    return frozenset(file.read_text(encoding="utf-8").splitlines())


async def actual(sql: Sql) -> frozenset[str]:
    """What is there."""
    return frozenset(row[0] for row in await sql.rows("describe_schema"))


async def drift(sql: Sql, dialect: str) -> Drift:
    """What has changed since the migrations ran. Indexes that somebody added are welcome."""
    wanted, found = expected(dialect), await actual(sql)
    added = [line for line in found - wanted if not line.startswith("index ")]
    return Drift(sorted(wanted - found), sorted(added))
