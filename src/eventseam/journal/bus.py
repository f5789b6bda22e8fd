"""A journal that services with databases of their own share: their cursors are kept in it, not beside their effects.

A cursor is made of the transaction numbers of its journal's own server. Kept elsewhere it would survive a crash of that
server which the numbers do not, and rows would be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventseam.ports.sql import Sql, Store
    from eventseam.ports.transport import Cursor


class BusMemory:
    """One reader's cursors, in the bus. See ports.transport.CursorMemory."""

    def __init__(self, bus: Store, reader: str) -> None:
        """Keep the cursors of `reader` in `bus`."""
        self._bus = bus
        self._reader = reader

    async def load(self, revisions: Mapping[int, int]) -> Mapping[int, Cursor]:
        """See ports.transport.CursorMemory."""
        wanted = _json([(self._reader, slot, rev) for slot, rev in revisions.items()])

        async def load(sql: Sql) -> Mapping[int, Cursor]:
            rows = await sql.rows("take_cursors", wanted)
            return {row[0]: tuple(row)[1:] for row in rows}

        return await self._bus.write(load)

    async def save(self, cursors: Sequence[tuple[int, int, Cursor]]) -> None:
        """See ports.transport.CursorMemory."""
        rows = _json([(self._reader, slot, rev, *cursor) for slot, rev, cursor in cursors])
        await self._bus.write(lambda sql: sql.changed("keep_cursors", rows))


def _json(rows: list[tuple[object, ...]]) -> str:
    return msgspec.json.encode(rows).decode()
