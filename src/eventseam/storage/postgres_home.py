"""Where our tables are in a PostgreSQL database, and what stands in the way: others' names, and rights that lack."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from eventseam.errors import StorageError

if TYPE_CHECKING:
    from eventseam.ports.sql import Sql


class Obstacle(NamedTuple):
    """What is wrong with a place, and what to do about it."""

    what: str
    fix: str

    def error(self) -> StorageError:
        """As an error."""
        return StorageError(f"{self.what}. Nothing was changed. {self.fix[0].upper()}{self.fix[1:]}")


async def home_of(sql: Sql) -> str | None:
    """The schema where our tables are, or will be; None if the search path has none that this role may use."""
    home: str | None = (await sql.rows("home_schema"))[0][0]
    return home


async def obstacle(sql: Sql, home: str | None) -> Obstacle | None:
    """What would let a statement of ours reach another table than the journal's; None if all is well."""
    if home is None:
        return Obstacle(
            "no schema of the search path exists, or this role may use none",
            "create it, GRANT USAGE ON it, or correct ?options=-csearch_path%3D… in the URL",
        )
    for name, schema in await sql.rows("strays", home):
        return Obstacle(
            f"{name!r} is in the schema {schema!r}, and the journal's schema is {home!r}: the search path has both, so "
            "that one would be read for the other",
            f"leave one of them out of ?options=-csearch_path%3D… in the URL, or rename or drop {schema}.{name}",
        )
    for (name,) in await sql.rows("strangers", home):
        return Obstacle(
            f"the schema {home!r} belongs to another program, which has its own table {name!r} there",
            "give another database, or another schema: ?options=-csearch_path%3Dshop",
        )
    return None


def grant(right: str, role: str) -> str:
    """The statement that gives a right to a role."""
    return f"GRANT {right} TO {quoted(role)}"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"{}"'.format(name.replace('"', '""'))
