"""The journal as a source: a log with positions, read by its tail.

On SQLite `id > position` is exact: one writer at a time, ids that only grow (`journal.snapshot` is for PostgreSQL).
Reading never raises because of one row: what a foreign program has written and no envelope can hold comes with its
`problem`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from eventseam.contracts.envelope import Envelope
from eventseam.ports.transport import Page, Received

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eventseam.ports.sql import Row, Sql, Store
    from eventseam.ports.transport import Cursor

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

    def tell(self, others: Callable[[], None]) -> Callable[[], None]:
        """`give`, and tell `others` as well."""

        def told() -> None:
            self.give()
            others()

        return told

    def give(self) -> None:
        """Something was committed. Call it on the loop."""
        for event in self._waiting:
            event.set()


class PageSize:
    """How many rows a page may have, so that its bodies stay within PAGE_BYTES."""

    def __init__(self) -> None:
        """Begin small."""
        self._rows_max = PAGE_ROWS_FIRST

    def within(self, limit: int) -> int:
        """At most `limit` rows."""
        return min(limit, self._rows_max)

    def fit(self, size: int, limit: int) -> None:
        """Fewer rows for the next page where this one was large, twice as many where it was not."""
        self._rows_max = max(1, limit // 4) if size > PAGE_BYTES else max(self._rows_max, 2 * limit)


class JournalSource:
    """One reader's view of a journal whose ids rise in commit order. See ports.transport.LogSource."""

    shape: Literal["log"] = "log"
    memory = None
    offered = None
    is_apart = False
    cap_by: Literal["reader"] = "reader"

    def __init__(self, store: Store, hint: Hint) -> None:
        """Read the journal of `store`, woken by `hint`."""
        self._store = store
        self._woken = hint.listen()
        self._size = PageSize()
        self.head = 0

    @property
    def slots(self) -> int:
        """One."""
        return self._store.slots

    async def prepare(self) -> None:
        """See ports.transport.LogSource. A number stays valid."""

    async def own(self, slots: Collection[int]) -> None:
        """See ports.transport.LogSource. Nothing is kept ready."""

    async def report(self, done: Mapping[int, Cursor]) -> None:
        """See ports.transport.LogSource. Our own tools read the positions."""

    async def close(self) -> None:
        """See ports.transport.LogSource. The store is the app's."""
        self._woken.set()

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:
        """See ports.transport.LogSource."""
        limit, wanted = self._size.within(limit), list(channels)
        self._woken.clear()
        return [await self._page(slot, cursor[0], wanted, limit) for slot, cursor in at.items()]

    async def _page(self, slot: int, after: int, channels: list[str], limit: int) -> Page:
        async def page(sql: Sql) -> tuple[Sequence[Row], int]:
            rows = await sql.rows("tail", after, channels, limit)
            return rows, rows[-1][0] if len(rows) == limit else (await sql.rows("head"))[0][0]

        rows, scanned = await self._store.read(page)
        self.head = max(self.head, scanned)
        messages = [received(row) for row in rows]
        self._size.fit(sum(len(message.body) for message in messages), limit)
        return Page(slot, messages, (max(scanned, after),), _cursor, len(rows) < limit)

    async def wait(self, timeout_seconds: float) -> None:
        """See ports.transport.LogSource."""
        await wait_for_hint(self._woken, timeout_seconds)


async def wait_for_hint(woken: asyncio.Event, timeout_seconds: float) -> None:
    """Return when a hint is given, at the latest after `timeout_seconds`."""
    if woken.is_set():
        return
    try:
        async with asyncio.timeout(timeout_seconds):
            await woken.wait()
    except TimeoutError:
        return


def _cursor(position: int) -> Cursor:
    return (position,)


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
     content_type, schema_id, details, headers, *_) = row  # fmt: skip
    problem = None
    time = moment(created_at) if isinstance(created_at, str) else created_at
    if time is None:
        is_text = isinstance(created_at, str)
        shown = f"{created_at[:64]!r}, which is no time" if is_text else "not within the years 1 to 9999"
        time, problem = EPOCH, f"created_at is {shown}"
    raw: bytes | str = payload if body is None else body
    # a foreign program's id must be one that can be compared and stored everywhere as it is
    if not (message_id.isascii() and message_id.isprintable() and 0 < len(message_id) <= _ID_MAX):
        message_id, problem = (
            f"journal-{position}",
            f"message_id is {message_id[:64]!r}: 1 to 128 printable ASCII characters",
        )
    extra = None
    if headers is not None:
        try:
            extra = msgspec.json.decode(headers, type=dict[str, str])
        except (msgspec.MsgspecError, ValueError):
            problem = "headers is no JSON object of texts"
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
    return Received(position, envelope, raw, problem, extra)
