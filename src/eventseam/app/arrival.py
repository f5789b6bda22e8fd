"""Waiting until a service has handled certain messages: for code that reads what the service writes.

A message is found by its id among the newest rows of the journal: no index is kept for that. Ids of ours hold the time
at which they were made, which bounds how far back it is looked for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from eventseam.journal.source import moment
from eventseam.ports.sql import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PAGE = 1_000
_PAGES_MAX = 100
_OLDER = timedelta(minutes=5)
"""How long before its row is written, or how long a transaction runs, an id may have been made."""
_END = 2**63 - 1
_TIME_ORDERED = 7
_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: what a foreign id says may lie behind it."""


def known_as(message_ids: Iterable[str | uuid.UUID]) -> dict[str, str]:
    """How each id may be spelled in a journal, and the one spelling that we use; an id that is no UUID has one.

    PostgreSQL has one for all. On SQLite a row has that of the program which wrote it.
    """
    found: dict[str, str] = {}
    for text in map(str, message_ids):
        known = _uuid(text)
        name = text if known is None else str(known)
        found.update(dict.fromkeys((text, name) if known is None else (text, name, name.upper()), name))
    return found


class Journal(NamedTuple):
    """Where messages of a service are found, and the channels that it has of there; None means all.

    Where it reads them from a broker, `handlers` tells how many of its handlers take a type: it has finished a message
    when so many have taken it. Else its position tells.
    """

    store: Store
    channels: frozenset[str] | None = None
    handlers: Callable[[str], int] | None = None


class Arrival:
    """What one service has not finished yet of some messages, looked at again and again in one journal."""

    def __init__(self, journal: Journal, service: str, spellings: Mapping[str, str]) -> None:
        """Know nothing yet of ids, which are looked for in all their `spellings`: see `known_as`."""
        self._journal = journal
        self._service = service
        self._spellings = spellings
        self.missing = set(spellings.values())
        self._since = _made_at(self.missing)
        self._places: dict[int, str] = {}
        self.finished: set[str] = set()

    async def look(self) -> None:
        """Look again for what is missing, and for what is not finished."""
        if self.missing:
            await self._find()
        waiting = [position for position, message_id in self._places.items() if message_id not in self.finished]
        if waiting and self._journal.handlers is not None:
            await self._count(waiting, self._journal.handlers)
        elif waiting:
            rows = await self._journal.store.ask("unfinished_rows", self._service, waiting)
            unfinished = {row[0] for row in rows}
            self.finished.update(self._places[position] for position in waiting if position not in unfinished)

    async def _count(self, waiting: list[int], handlers: Callable[[str], int]) -> None:
        """Look how many handlers have taken what waits."""
        ask = self._journal.store.ask
        asked = sorted({spelling for spelling, name in self._spellings.items() if name not in self.finished})
        taken = {self._spellings[row[0]]: row[1] for row in await ask("taken_by", self._service, asked)}
        for position, wire in await ask("types_at", waiting):
            if taken.get(self._places[position], 0) >= handlers(wire):
                self.finished.add(self._places[position])

    async def _find(self) -> None:
        """Look from the newest row back to the time at which the oldest of the messages was made."""
        ask, channels, before = self._journal.store.ask, self._journal.channels, _END
        for _ in range(_PAGES_MAX):
            sought = sorted(each for each, name in self._spellings.items() if name in self.missing)
            *rows, (first, _, _, oldest) = await ask("find_messages", sought, before, _PAGE)
            for position, spelling, channel, _ in rows:
                if channels is None or channel in channels:
                    self._places[position] = self._spellings[spelling]
                    self.missing.discard(self._spellings[spelling])
            time = moment(oldest) if oldest is not None else None
            is_too_old = self._since is None or (time is not None and time < self._since)
            if not self.missing or first is None or is_too_old:
                return
            before = first


class Awaited:
    """Messages for which somebody waits, in every journal in which a service may read them."""

    def __init__(self, journals: Sequence[Journal], service: str, message_ids: Iterable[str | uuid.UUID]) -> None:
        """Know nothing yet."""
        self._spellings = known_as(message_ids)
        self._arrivals = [Arrival(journal, service, self._spellings) for journal in journals]
        self._wanted = frozenset(self._spellings.values())
        self._service = service

    async def is_over(self, store: Store) -> bool:
        """Whether the service has finished every message, and keeps none of them to try it again."""
        for each in self._arrivals:
            await each.look()
        return not self._unfinished() and not await self._unsettled(store)

    async def missing(self, store: Store) -> str:
        """What is waited for, in words."""
        absent = frozenset[str].intersection(*(frozenset(each.missing) for each in self._arrivals))
        told = [f"{each} is not in the journal: not committed, or dropped already" for each in sorted(absent)]
        told += [f"{each} is not handled yet" for each in sorted(self._unfinished() - absent)]
        return "; ".join([*told, *await self._unsettled(store)])

    def _unfinished(self) -> frozenset[str]:
        return self._wanted.difference(*(each.finished for each in self._arrivals))

    async def _unsettled(self, store: Store) -> list[str]:
        rows = await store.ask("unsettled_messages", self._service, sorted(self._spellings))
        return [f"{self._spellings[each]} is {state} in {self._service}.{handler}" for each, handler, state in rows]


def _made_at(message_ids: Iterable[str]) -> datetime | None:
    """A time before which none of the rows was written, as far as the ids tell; None if none of them does."""
    known = [each for each in map(_uuid, message_ids) if each is not None and each.version == _TIME_ORDERED]
    if not known:
        return None
    return datetime.fromtimestamp(min(_MS_MAX, *(each.int >> 80 for each in known)) / 1_000, UTC) - _OLDER


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
