"""Publishing on the user's own open connection: the event commits with the user's own writes, or not at all.

Nothing has to run for it and nothing is started: the row lies in the journal when the user commits, and the engine
finds it within 100 ms. A connection without a transaction is refused, and so is one that could fail at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventseam.app.ctx import Publisher
from eventseam.delivery.handler import Outgoing
from eventseam.errors import ContractError, Overloaded, TooLarge, WiringError
from eventseam.journal.append import Origin, append, rows_for, timestamp
from eventseam.journal.limits import overloaded, pending
from eventseam.ports.sql import run_sync
from eventseam.storage.guests.guest import Guest, explained
from eventseam.storage.guests.which import guest_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.clock import Clock, Seams

_COUNT_EVERY_SECONDS = 0.05
_CORRELATION_BYTES_MAX = 4_096


class Outlet:
    """One service's way from its users' transactions into the journal: its ids, and what it knows of full channels."""

    def __init__(self, service: str, seams: Seams) -> None:
        """Publish as `service`."""
        self._service = service
        self._seams = seams
        self._publisher = Publisher(service, frozenset(), frozenset())
        self._room = Room(seams.clock)

    def publish(self, connection: object, event: object, correlation_id: str | None) -> str:
        """Append, or on a Session record; the message's id. WiringError for a connection that must be awaited."""
        found = guest_on(connection)
        one = self._one(event, correlation_id)
        if not isinstance(found, Guest):
            found.record(one, _settle)
        elif found.waits:
            raise WiringError(
                f"publish() cannot wait for a {type(connection).__qualname__}. "
                "Write: await service.publish_async(connection, event)"
            )
        else:
            run_sync(_settle(found, (one,)))
        return one.message_id

    async def publish_async(self, connection: object, event: object, correlation_id: str | None) -> str:
        """As `publish`, on a connection of any kind."""
        found = guest_on(connection)
        one = self._one(event, correlation_id)
        if isinstance(found, Guest):
            await _settle(found, (one,))
        else:
            found.record(one, _settle)
        return one.message_id

    def _one(self, event: object, correlation_id: str | None) -> _One:
        made = self._publisher.event(event)
        origin = Origin(self._service, _checked(correlation_id))
        return _One(made, rows_for((made,), origin, self._seams, timestamp(self._seams.clock.now()))[0], self._room)


def _checked(correlation_id: str | None) -> str | None:
    """A flow's name as every place can keep it. Raises ContractError or TooLarge."""
    if correlation_id is not None:
        if not correlation_id or "\0" in correlation_id:
            raise ContractError(f"correlation_id={correlation_id[:64]!r}: it needs a character, and none may be NUL")
        if (size := len(correlation_id.encode("utf-8", "replace"))) > _CORRELATION_BYTES_MAX:
            raise TooLarge(f"a correlation_id of {size:,} bytes; the cap is {_CORRELATION_BYTES_MAX:,}")
    return correlation_id


class _One(NamedTuple):
    """A message on its way: encoded, with its row, and where the limit of its channel is watched."""

    made: Outgoing
    row: tuple[object, ...]
    room: Room

    @property
    def message_id(self) -> str:
        return str(self.row[5])


async def _settle(guest: Guest, messages: Sequence[_One]) -> None:
    """Append `messages` in order, or raise without a trace of them. Never waits for a limit: the user holds locks."""
    try:
        await guest.check()
        for each in messages:
            await each.room.demand(guest, each.made)
        await append(guest.sql, [each.row for each in messages])
    except Exception as error:
        meaning = explained(error)
        if meaning is None:
            raise
        raise meaning from error


class Room:
    """How full channels are, counted at most every 50 ms per database while they are not full."""

    def __init__(self, clock: Clock) -> None:
        """Know nothing yet."""
        self._clock = clock
        self._counts: dict[tuple[str, str], tuple[float, int]] = {}

    async def demand(self, guest: Guest, made: Outgoing) -> None:
        """Take one message's place in its channel. Raises Overloaded, always after counting anew."""
        limit = made.type.channel.limit
        if limit is None or limit.pending_max is None:
            return
        counted = guest.place(), made.channel
        at, count = self._counts.get(counted, (float("-inf"), 0))
        now = self._clock.monotonic()
        if now - at >= _COUNT_EVERY_SECONDS or count >= limit.pending_max:
            readers = {str(row[0]) for row in await guest.sql.rows("all_positions")}
            at, count = now, await pending(guest.sql, made.channel, readers, limit.pending_max) if readers else 0
        if count >= limit.pending_max:
            self._counts.pop(counted, None)
            raise Overloaded(overloaded(made.channel, limit))
        self._counts[counted] = at, count + 1
