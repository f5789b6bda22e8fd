"""A journal that services with databases of their own share: their cursors are kept in it, not beside their effects.

A cursor is made of the transaction numbers of its journal's own server. Kept elsewhere it would survive a crash of that
server which the numbers do not, and rows would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from eventseam.errors import StorageError, WiringError
from eventseam.journal.append import timestamp
from eventseam.journal.retention import forget_reader, gaps, inbox_dropped, needs
from eventseam.ports.cursors import accepted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eventseam.ports.sql import Sql, Store
    from eventseam.ports.transport import Cursor


RELAY: Final = "relay@bus"
ON_BUS: Final = "@bus"


def on_bus(service: str) -> str:
    """The name, in a service's own database, of its positions on the bus."""
    return f"{service}{ON_BUS}"


def on_broker(service: str, slots: int) -> str:
    """The same on a broker, of the channels that have so many partitions there."""
    return f"{service}/{slots}{ON_BUS}"


def service_of(reader: str) -> str:
    """The service whose positions these are, wherever it reads."""
    return reader if reader == RELAY else reader.removesuffix(ON_BUS).partition("/")[0]


def is_on_broker(reader: str) -> bool:
    """Whether a reader's positions are those of a service on a broker."""
    return "/" in reader


class Moving(NamedTuple):
    """Services that are to read a bus from now on, those of them that read their own journal as well, and what of it
    is relayed. What was handled before `remembered` may come again as if it were new.
    """

    services: frozenset[str]
    staying: frozenset[str]
    channels: Sequence[str]
    now: datetime
    remembered: datetime


async def refuse_rings(own: Store, bus: Store) -> None:
    """Raise WiringError for a bus from which messages come back into the journal that they were relayed from."""
    if own.dialect == bus.dialect and await own.ask("journal_identity") == await bus.ask("journal_identity"):
        raise WiringError(
            "EVENTSEAM_TRANSPORT names the service's own database: each message would be copied to where it is, "
            "without end. Leave EVENTSEAM_TRANSPORT out: in one database the journal is the bus. Or name another "
            "database, or another schema of this one."
        )
    if await bus.ask("revisions", [RELAY]):
        raise WiringError(
            f"the database that EVENTSEAM_TRANSPORT names is relayed to a bus itself (its reader {RELAY}): messages "
            "could go round for ever. Give all services one bus, which no app has as its EVENTSEAM_DATABASE. If none "
            f"has it any more: eventseam journal forget-reader {RELAY} --database <the bus>"
        )
    readers = ", ".join(row[0] for row in await own.ask("bus_readers"))
    if readers:
        raise WiringError(
            f"EVENTSEAM_DATABASE names a database that is a bus itself (read by {readers}), and EVENTSEAM_TRANSPORT "
            "another one: messages could go round for ever. Give all services one bus, and each a database of its own. "
            "If it is a bus no more: eventseam journal forget-reader, for each of these readers"
        )


async def refuse_other_bus(own: Store, *, is_broker: bool) -> None:
    """Raise WiringError where services have read another kind of bus: what is left there would be lost."""
    readers = {str(row[0]) for row in await own.ask("all_positions")} - {RELAY}
    others = sorted(each for each in readers if each.endswith(ON_BUS) and is_on_broker(each) != is_broker)
    if others:
        was, now = ("a database", "a broker") if is_broker else ("a broker", "a database")
        raise WiringError(
            f"EVENTSEAM_TRANSPORT names {now}, but the services of this database have read {was} until now "
            f"({', '.join(others)}): what they have not read there would be lost. Run them with the old transport and "
            "without publishers until `eventseam lag` shows 0; then: eventseam journal forget-reader, for each"
        )


async def note_of(own: Store) -> str | None:
    """What is noted beside the relay's position: see `note`."""
    return next((row[2] for row in await own.ask("apart_cursors", [RELAY]) if row[1] == 0), None)


def counts_in(text: str | None) -> dict[str, int]:
    """How many partitions channels had when they were last published to or read, as it is noted."""
    return {channel: count for channel, count in _noted(text).items() if count}


def kept_in(text: str | None) -> frozenset[str]:
    """The internal channels of every app that has run on this database, as they are noted."""
    return frozenset(channel for channel, count in _noted(text).items() if not count)


async def note(sql: Sql, text: str | None, counts: Mapping[str, int], kept: Iterable[str] = ()) -> None:
    """Note partitions of channels, and internal channels, where `text` is what is noted now."""
    new = _json([*sorted({**_noted(text), **dict.fromkeys(kept, 0), **counts}.items())])
    if new != text:
        await sql.changed("widen_cursor", RELAY, 0, text, new)


def _noted(text: str | None) -> dict[str, int]:
    return dict(msgspec.json.decode(text)) if text else {}


async def start_relay(sql: Sql, slots: int, moving: Moving) -> None:
    """Make the relay's positions, unless they are there: where services have read the journal itself, it goes on there.

    It begins with the first message that one of them has not finished, and they are no readers of the journal any more.
    Raises StorageError where that would hand out again what inboxes have forgotten, or while somebody reads there.
    """
    await sql.rows("lock_retention")
    if await sql.rows("revisions", [RELAY]):
        return
    readers = {str(row[0]) for row in await sql.rows("all_positions")}
    leaving = sorted(readers & moving.services - moving.staying)
    is_first = not any(reader.endswith(ON_BUS) for reader in readers)
    if not leaving and not (is_first and readers & moving.services):
        await sql.changed("start_at_beginning", RELAY, list(range(slots)))
        return
    await sql.changed("start_unread", RELAY, list(range(slots)), list(moving.channels))
    await _refuse_repeats(sql, moving)
    for reader in leaving:
        await forget_reader(sql, reader, moving.now.timestamp())


async def _refuse_repeats(sql: Sql, moving: Moving) -> None:
    """Raise StorageError if a reader is behind by more than inboxes remember, or has a gap."""
    lost = sorted(each.reader for each in await gaps(sql) if each.reader in moving.services)
    if lost:
        raise StorageError(
            f"{', '.join(lost)} lost messages of the journal before EVENTSEAM_TRANSPORT was set. Repair what depends "
            f"on them and run: eventseam journal accept-gap {' '.join(lost)}"
        )
    dropped = await inbox_dropped(sql)
    since = moving.remembered if dropped is None else max(dropped, moving.remembered)
    late = [each for each in await needs(sql, timestamp(since)) if not each.reader.endswith(ON_BUS)]
    if late:
        names = ", ".join(each.reader for each in late)
        raise StorageError(
            f"EVENTSEAM_TRANSPORT is new to this database, and {names} did not finish messages from before "
            f"{timestamp(since)}. What came after these would go to the bus again, also for those who have handled it, "
            "and inboxes do not remember that time. Run the app without EVENTSEAM_TRANSPORT until `eventseam lag` "
            "shows 0, then set it. A reader that will never run again: eventseam journal forget-reader"
        )


async def accept_loss(sql: Sql, reader: str) -> bool:
    """Let a reader of a broker go on with what is there, whatever it has lost; False if there is no such reader.

    Its owner is fenced. What it has finished behind its position comes again, which its inbox absorbs.
    """
    rows = [row for row in await sql.rows("apart_cursors", [reader]) if row[2] is not None]
    for _, slot, text, _ in rows:
        cursor = accepted(tuple(map(tuple, msgspec.json.decode(text))))
        await sql.changed("put_cursor", reader, slot, msgspec.json.encode(cursor).decode())
    return bool(rows)


class BusMemory:
    """One reader's cursors, in the bus. See ports.transport.CursorMemory."""

    is_prompt = False

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
