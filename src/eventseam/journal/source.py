"""The journal as a source: a log with positions, read by its tail.

On SQLite `id > position` is exact: one writer at a time, ids that only grow. Reading never raises because of one row:
what a foreign program has written and no envelope can hold comes with its `problem`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from eventseam.contracts.envelope import Envelope
from eventseam.ports.transport import Page, Received

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.ports.sql import Row, Sql, Store

_ID_MAX = 128
PAGE_BYTES = 8 * 1024 * 1024
"""Bodies beyond this in one page make the next page smaller."""
PAGE_ROWS_FIRST = 64
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Hint:
    """Wakes the tails of this process after a commit. Never the truth: a tail polls all the same."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._waiting: list[asyncio.Event] = []

    def listen(self) -> asyncio.Event:
        """An event that is set at each hint; the listener clears it."""
        event = asyncio.Event()
        self._waiting.append(event)
        return event

    def give(self) -> None:
        """Something was committed. Call it on the loop."""
        for event in self._waiting:
            event.set()


class JournalSource:
    """One reader's view of the journal. See ports.transport.LogSource."""

    shape: Literal["log"] = "log"

    def __init__(self, store: Store, hint: Hint) -> None:
        """Read the journal of `store`, woken by `hint`."""
        self._store = store
        self._woken = hint.listen()
        self._rows_max = PAGE_ROWS_FIRST

    @property
    def slots(self) -> int:
        """As many as the store has."""
        return self._store.slots

    async def fetch(self, slot: int, after: int, channels: Sequence[str], limit: int) -> Page:  # noqa: ARG002 - one slot
        """See ports.transport.LogSource."""
        wanted = msgspec.json.encode(list(channels)).decode()
        limit = min(limit, self._rows_max)

        async def page(sql: Sql) -> Page:
            rows = await sql.rows("tail", after, wanted, limit)
            if len(rows) == limit:
                return Page([received(row) for row in rows], rows[-1][0])
            head: int = (await sql.rows("head"))[0][0]
            return Page([received(row) for row in rows], max(head, after))

        self._woken.clear()
        found = await self._store.read(page)
        self._fit(sum(len(message.body) for message in found.messages), limit)
        return found

    def _fit(self, size: int, limit: int) -> None:
        """Fewer rows for the next page where this one was large, twice as many where it was not."""
        self._rows_max = max(1, limit // 4) if size > PAGE_BYTES else max(self._rows_max, 2 * limit)

    async def wait(self, timeout_seconds: float) -> None:
        """See ports.transport.LogSource."""
        if self._woken.is_set():
            return
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return


def moment(text: str) -> datetime | None:
    """A journal row's time, in UTC where it names no zone; None for a text that is no time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def received(row: Row) -> Received:
    """A journal row as a message, whatever a foreign program has put into it."""
    (position, channel, key, wire, payload, body, created_at, message_id, source, correlation, causation, trace,
     content_type, schema_id, details) = row  # fmt: skip
    problem = None
    time = moment(created_at)
    if time is None:
        time, problem = EPOCH, f"created_at is {created_at[:64]!r}, which is no time"
    raw: bytes = payload if body is None else body
    # a foreign program's id must be one that can be compared and stored everywhere as it is
    if not (message_id.isascii() and message_id.isprintable() and 0 < len(message_id) <= _ID_MAX):
        message_id, problem = (
            f"journal-{position}",
            f"message_id is {message_id[:64]!r}: 1 to 128 printable ASCII characters",
        )
    envelope = Envelope(
        id=message_id,
        type=wire,
        source=source or channel,
        channel=channel,
        key=key,
        time=time,
        correlation_id=correlation or message_id,
        causation_id=causation,
        trace=trace,
        sequence=position,
        content_type=content_type or "application/json",
        schema_id=schema_id,
        details=details,
    )
    return Received(position, envelope, raw, problem)
