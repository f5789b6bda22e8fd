"""Waiting until a service has handled certain messages: for code that reads what the service writes.

A message is found by its id among the newest rows of the journal: no index is kept for that. Ids of ours hold the time
at which they were made, which bounds how far back it is looked for.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from eventseam.journal.source import moment
from eventseam.ports.sql import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PAGE = 1_000
_PAGES_MAX = 100
_OLDER = timedelta(minutes=5)
"""How long before its row is written, or how long a transaction runs, an id may have been made."""
_END = 2**63 - 1
_TIME_ORDERED = 7


class Journal(NamedTuple):
    """Where a service reads, and the channels that it reads there; None means all."""

    store: Store
    channels: frozenset[str] | None = None


class Arrival:
    """What one service has not finished yet of some messages, looked at again and again in one journal."""

    def __init__(self, journal: Journal, service: str, message_ids: Sequence[str]) -> None:
        """Know nothing yet."""
        self._journal = journal
        self._service = service
        self._since = _made_at(message_ids)
        self._places: dict[int, str] = {}
        self.missing = set(message_ids)
        self.finished: set[str] = set()

    async def look(self) -> None:
        """Look again for what is missing, and for what is not finished."""
        if self.missing:
            await self._find()
        waiting = [position for position, message_id in self._places.items() if message_id not in self.finished]
        if waiting:
            rows = await self._journal.store.ask("unfinished_rows", self._service, waiting)
            unfinished = {row[0] for row in rows}
            self.finished.update(self._places[position] for position in waiting if position not in unfinished)

    async def _find(self) -> None:
        """Look from the newest row back to the time at which the oldest of the messages was made."""
        ask, channels, before = self._journal.store.ask, self._journal.channels, _END
        for _ in range(_PAGES_MAX):
            *rows, (first, _, _, oldest) = await ask("find_messages", sorted(self.missing), before, _PAGE)
            for position, message_id, channel, _ in rows:
                if channels is None or channel in channels:
                    self._places[position] = message_id
                    self.missing.discard(message_id)
            time = moment(oldest) if oldest is not None else None
            is_too_old = self._since is None or (time is not None and time < self._since)
            if not self.missing or first is None or is_too_old:
                return
            before = first


class Awaited:
    """Messages for which somebody waits, in every journal in which a service may read them."""

    def __init__(self, journals: Sequence[Journal], service: str, message_ids: Sequence[str]) -> None:
        """Know nothing yet."""
        self._arrivals = [Arrival(journal, service, message_ids) for journal in journals]
        self._wanted = frozenset(message_ids)
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
        rows = await store.ask("unsettled_messages", self._service, sorted(self._wanted))
        return [f"{message_id} is {state} in {self._service}.{handler}" for message_id, handler, state in rows]


def _made_at(message_ids: Sequence[str]) -> datetime | None:
    """A time before which none of the rows was written, as far as the ids tell; None if none of them does."""
    times = [datetime.fromtimestamp((each.int >> 80) / 1_000, UTC) for each in _time_ordered(message_ids)]
    return min(times) - _OLDER if times else None


def _time_ordered(message_ids: Sequence[str]) -> Iterator[uuid.UUID]:
    for each in message_ids:
        with suppress(ValueError):
            if (known := uuid.UUID(each)).version == _TIME_ORDERED:
                yield known
