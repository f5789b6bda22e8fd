"""A journal that was restored or moved into another PostgreSQL cluster begins a new era.

There the transaction numbers begin anew, and the old rows and cursors have numbers that the new ones would meet. Rows
and cursors stay as they are: each reader first finishes the era in which it is, by the old numbers alone, and then goes
on with the next one. Refuses nothing: done once too often, it costs each reader one more step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from eventseam.ports.sql import Sql


class Rebased(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: the era that has begun, the cluster it is in and the one before, and who is behind the era."""

    era: int
    cluster: str
    cluster_before: str
    readers: tuple[str, ...]


async def rebase(sql: Sql) -> Rebased:
    """Begin the next era, in one transaction; every reader is fenced. Stop all apps before.

    Waits for whoever is appending, and raises the driver's lock time-out if that takes long. What the lost days had
    published is unknown here: ids and positions of the journal will be given again, message ids never.
    """
    await sql.rows("lock_journal")
    era, cluster, before = (await sql.rows("begin_era"))[0]
    await sql.rows("append_in_era")
    await sql.changed("fence_readers")
    await sql.changed("forget_all_members")
    readers = tuple(str(row[0]) for row in await sql.rows("readers_behind", era))
    return Rebased(era=era, cluster=cluster, cluster_before=before, readers=readers)
