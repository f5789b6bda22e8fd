"""Cursors of a reader of several channels, whose slots are the same partition of each: shared by all partitioned logs.

A cursor holds, for each channel, its incarnation and where to read on, in an order that never changes: a channel that
is new is added at the end. So a position, the place in that order and the place in the log, is another one for each
message of a slot, also after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventseam.ports.transport import Cursor

_BITS = 48
_OFFSET = (1 << _BITS) - 1


def place_of(cursor: Cursor, channel: str) -> int:
    """A channel's place in the order of a cursor."""
    return next(place for place, spot in enumerate(cursor) if spot[0] == channel)


def position_of(place: int, offset: int) -> int:
    """The position of a message: the place of its channel, and where it lies there."""
    return place << _BITS | offset


def offset_of(position: int) -> int:
    """Where a message lies in its channel's partition."""
    return position & _OFFSET


def behind(cursor: Cursor, place: int, position: int) -> Cursor:
    """The cursor when everything of one channel up to a position is finished."""
    channel, incarnation, _ = cursor[place]
    return (*cursor[:place], (channel, incarnation, offset_of(position) + 1), *cursor[place + 1 :])


def check_incarnations(cursor: Cursor, now: Mapping[str, str], where: str) -> None:
    """Raise StorageError for a channel of a cursor that was deleted, or made again, since the cursor was written.

    `now` has the incarnations of those channels that are read and are there, and "" for one that is read and is not.
    """
    for channel, incarnation, offset in cursor:
        found = now.get(channel)
        if found == "":
            raise lost(where, channel, offset, "is gone")
        if found is not None and incarnation not in ("", found):
            raise lost(where, channel, offset, "was deleted and made again")


def lost(where: str, channel: str, offset: int, what: str) -> StorageError:
    """The error of messages that are not there any more before `where`'s reader has read them."""
    return StorageError(
        f"{where}: channel {channel} {what}, and was not read from {offset} on. Repair what depends on that (eventseam "
        "republish --since, where its publisher's journal still has it), then go on with what is there: eventseam "
        "journal accept-gap"
    )
