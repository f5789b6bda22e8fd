"""Cursors of a reader of several channels, whose slots are the same partition of each: shared by all partitioned logs.

A cursor holds, for each channel, its incarnation and where to read on, in an order that never changes: a channel that
is new is added at the end. So a position, the place in that order and the place in the log, is another one for each
message of a slot, also after a restart.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from eventseam.errors import StorageError
from eventseam.ports.transport import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eventseam.ports.transport import Cursor

_BITS = 48
_ACCEPTED = "?"
_ELSEWHERE = " (or EVENTSEAM_TRANSPORT names another broker or prefix than before: then set it back)"
_OFFSET = (1 << _BITS) - 1


def place_of(cursor: Cursor, channel: str) -> int:
    """A channel's place in the order of a cursor."""
    return next(place for place, spot in enumerate(cursor) if spot[0] == channel)


def accepted(cursor: Cursor) -> Cursor:
    """The cursor of a reader that goes on with what is there, whatever was lost before: see `unsure`."""
    return tuple((channel, incarnation.removesuffix(_ACCEPTED) + _ACCEPTED, at) for channel, incarnation, at in cursor)


def unsure(cursor: Cursor, channels: Iterable[str]) -> set[str]:
    """Those of `channels` of which it must be found out where to read: new ones, and those with an accepted loss."""
    sure = {channel for channel, incarnation, _ in cursor if not incarnation.endswith(_ACCEPTED)}
    return set(channels) - sure


def settled(at: Mapping[int, Cursor], oldest: Mapping[int, Cursor]) -> list[Page]:
    """For each slot an empty page that ends at its cursor, made sure by where the oldest messages of channels are.

    The engine keeps that cursor before anything of these channels is read.
    """
    pages: list[Page] = []
    for slot, cursor in at.items():
        first = {channel: (incarnation, offset) for channel, incarnation, offset in oldest[slot]}
        spots = [_sure(spot, first.get(spot[0])) for spot in cursor]
        known = {spot[0] for spot in cursor}
        end = (*spots, *(spot for spot in oldest[slot] if spot[0] not in known))
        pages.append(Page(slot, (), end, partial(_at_any, end), is_whole=False))
    return pages


def _sure(spot: tuple[str, str, int], oldest: tuple[str, int] | None) -> tuple[str, str, int]:
    channel, incarnation, offset = spot
    if oldest is None or not incarnation.endswith(_ACCEPTED):
        return spot
    is_same = incarnation.removesuffix(_ACCEPTED) in ("", oldest[0])
    return (channel, oldest[0], max(offset, oldest[1]) if is_same else oldest[1])


def _at_any(cursor: Cursor, _: int) -> Cursor:
    return cursor


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


def will_read(spot: tuple[str, str, int], incarnation: str, offset: int) -> bool:
    """Whether a reader that stands at a spot has a message of an incarnation of its channel still before it."""
    return spot[1].removesuffix(_ACCEPTED) in ("", incarnation) and spot[2] <= offset


def check_incarnations(whose: tuple[str, int], cursor: Cursor, now: Mapping[str, str]) -> None:
    """Raise StorageError for a channel of a cursor that was deleted, or made again, since the cursor was written.

    `whose` are reader and slot. `now` has the incarnations of those channels that are read and are there, and "" for
    one that is read and is not.
    """
    for channel, incarnation, offset in cursor:
        found = None if incarnation.endswith(_ACCEPTED) else now.get(channel)
        if found == "":
            raise lost(whose, channel, offset, "is gone")
        if found is not None and incarnation not in ("", found):
            raise lost(whose, channel, offset, f"was deleted and made again{_ELSEWHERE}")


def lost(whose: tuple[str, int], channel: str, offset: int, what: str) -> StorageError:
    """The error of messages that are not there any more before a reader has read them on a slot."""
    reader, slot = whose
    return StorageError(
        f"channel {channel}, partition {slot}, {what}, and {reader} had read it up to {offset} only. Repair what "
        "depends on that (eventseam republish --since, where its publisher's journal still has it), then go on with "
        f"what is there: eventseam journal accept-gap {reader}"
    )
