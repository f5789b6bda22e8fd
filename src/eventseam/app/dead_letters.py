"""Redrive from a broker's channel of dead letters: the copies there lead to rows that are tried again.

How far it was read is kept beside the rows and moves with them, so that a copy leads to something once.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from eventseam.app.broker import cursors_of
from eventseam.delivery.copies import Home, copy_of, redrive_copies
from eventseam.errors import StorageError, StorageUnavailable, WiringError
from eventseam.journal.bus import is_on_broker, on_broker, service_of
from eventseam.journal.retention import inbox_dropped
from eventseam.ports.transport import DEAD_LETTERS

if TYPE_CHECKING:
    from datetime import datetime

    from eventseam.clock import Clock
    from eventseam.ports.sql import Sql, Store
    from eventseam.ports.transport import Broker, Cursor, Page

_PAGE: Final = 500
_LOOK_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 30.0


class _Reader(NamedTuple):
    """Who reads the copies, and where; whose they may be, and where these belong."""

    name: str
    channel: str
    slots: int
    services: frozenset[str]
    home: Home


async def redrive_channel(store: Store, broker: Broker, channel: str, clock: Clock) -> Counter[str]:
    """Try the messages again whose copies came to a channel's dead letters since this was last done.

    How many messages came to what: see delivery.copies.Fate; "others" are copies of services that have not read a
    broker from this database, "foreign" is what is no copy of ours. Raises WiringError where there are no such copies,
    StorageError where somebody else does the same now, StorageUnavailable.
    """
    reader = await _reader(store, broker, channel)
    source = broker.source(reader.name, (reader.channel,), reader.slots)
    try:
        if source.shape == "queue":
            raise WiringError(
                "this broker keeps no messages to read again. Redrive the rows: eventseam dlq redrive --all"
            )
        at, reader = await _begin(store, broker, reader), await _with_oldest(broker, channel, reader)
        await source.prepare()
        await source.own(at.keys())
        found, ends = Counter[str](), clock.monotonic() + _PATIENCE_SECONDS
        while any((await broker.behind(at)).values()):
            for page in await source.fetch(at, (reader.channel,), _PAGE):
                found += await store.write(partial(_take, reader, at[page.slot], page, clock.now()))
                at[page.slot] = page.end
                ends = clock.monotonic() + _PATIENCE_SECONDS
            if clock.monotonic() > ends:
                raise StorageUnavailable(
                    f"the broker has more on {reader.channel} than it gives within {_PATIENCE_SECONDS:g} s. What was "
                    "read is done. Run it again"
                )
            await source.wait(_LOOK_SECONDS)
        return found
    finally:
        await source.close()


async def _reader(store: Store, broker: Broker, channel: str) -> _Reader:
    """The reader of a channel's copies. Raises WiringError if the broker has no such channel."""
    name = f"{channel}{DEAD_LETTERS}"
    layouts = await broker.layouts((channel, name))
    missing = sorted({channel, name} - layouts.keys())
    if missing:
        raise WiringError(
            f"the broker has no channel {missing[0]}. Name a channel that a service of this database reads."
        )
    readers = {str(row[0]) for row in await store.ask("all_positions")}
    services = frozenset(service_of(each) for each in readers if is_on_broker(each))
    slots = layouts[name].partitions
    return _Reader(on_broker(name, slots), name, slots, services, Home(layouts[channel].partitions, broker.slot_of))


async def _with_oldest(broker: Broker, channel: str, reader: _Reader) -> _Reader:
    """A reader of copies that knows what is still at the broker of the channel itself."""
    oldest = await broker.begin(reader.name, (channel,), reader.home.slots, "beginning")
    spots = {slot: (cursor[0][1], cursor[0][2]) for slot, cursor in oldest.items()}
    return reader._replace(home=reader.home._replace(oldest=spots))


async def _begin(store: Store, broker: Broker, reader: _Reader) -> dict[int, Cursor]:
    """Where the reader was left; or the oldest that is there, if that came later or the channel was made anew."""
    oldest = await broker.begin(reader.name, (reader.channel,), reader.slots, "beginning")
    rows = [(reader.name, slot, _text(cursor)) for slot, cursor in oldest.items()]
    await store.write(lambda sql: sql.many("new_apart_position", rows))
    at: dict[int, Cursor] = {}
    for slot, (text, cursor) in (await cursors_of(store, reader.name)).items():
        (_, now, first), (_, was, offset) = oldest[slot][0], cursor[0]
        at[slot] = cursor if now == was and first <= offset else oldest[slot]
        if at[slot] != cursor:
            await store.change("widen_cursor", reader.name, slot, text, _text(at[slot]))
    return at


async def _take(reader: _Reader, at: Cursor, page: Page, now: datetime, sql: Sql) -> Counter[str]:
    """Redrive what one page has copies of, and move on behind it."""
    await sql.rows("lock_retention")  # what the inbox remembers must not change meanwhile
    if not await sql.changed("widen_cursor", reader.name, page.slot, _text(at), _text(page.end)):
        raise StorageError(f"somebody else redrives from {reader.channel} now: what was left is theirs")
    copies = [copy_of(message) for message in page.messages]
    ours = [copy for copy in copies if copy is not None and copy.service in reader.services]
    others = sum(copy is not None for copy in copies) - len(ours)
    found = Counter[str]({"others": others, "foreign": copies.count(None)})
    found.update(await redrive_copies(sql, ours, reader.home, now, await inbox_dropped(sql)))
    return found


def _text(cursor: Cursor) -> str:
    return msgspec.json.encode(cursor).decode()
