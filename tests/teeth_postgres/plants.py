"""Planted bugs of the relay, of the bus and of shared slots on PostgreSQL. See tests/teeth/plants.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eventseam.delivery import relay
from eventseam.delivery.committer import Committer, _positions
from eventseam.delivery.relay import Relay
from eventseam.delivery.shift import Shift
from eventseam.errors import OutcomeUnknown
from eventseam.journal.snapshot import SnapshotSource
from eventseam.storage import catalog
from eventseam.storage.postgres_binding import named_statements
from tests.teeth.plants import swapped


@contextmanager
def reworded(name: str, change: Callable[[str], str]) -> Iterator[None]:
    """Change a named statement, for databases that are opened inside the block."""
    parse, honest = catalog.parse_statements, catalog.statements("postgresql")[name]
    assert change(honest) != honest, f"the plant is of an older {name!r}"

    def parse_and_change(source: str) -> dict[str, str]:
        return {each: change(text) if each == name else text for each, text in parse(source).items()}

    with swapped((catalog, "parse_statements", parse_and_change)):
        named_statements.cache_clear()
        try:
            yield
        finally:
            named_statements.cache_clear()


def noted_before_published():
    """The relay notes a batch as published, and publishes it then."""
    publish, read = Relay._publish, SnapshotSource.fetch
    ends: dict[int, Any] = {}

    async def fetch(self: SnapshotSource, at: Any, channels: Any, limit: int) -> Any:
        pages = await read(self, at, channels, limit)
        ends.clear()
        ends.update({page.slot: page.end for page in pages})
        return pages

    async def note_and_publish(self: Relay, shift: Shift, messages: Any) -> bool:
        for number, end in ends.items():
            shift.slots[number].window.done = end
        life = str((await self._around.store.ask("life"))[0][0])
        return await self._note(shift, life) and await publish(self, shift, messages)

    return swapped((SnapshotSource, "fetch", fetch), (Relay, "_publish", note_and_publish))


def later_batch_after_an_unknown_outcome():
    """A batch of unknown outcome is published again beside what follows."""
    again: set[asyncio.Task[None]] = set()

    async def publish(self: Relay, _shift: Shift, messages: Any) -> bool:
        try:
            await self._sink.publish(messages)
        except OutcomeUnknown:
            again.add(asyncio.create_task(later(self, messages)))
        return True

    async def later(self: Relay, messages: Any) -> None:
        await asyncio.sleep(0.3)
        await self._sink.publish(messages)

    return swapped((Relay, "_publish", publish))


def published_before_it_is_durable():
    """The relay publishes what it sees without waiting for the disk."""

    async def note(_self: Relay, _shift: Shift, _life: str) -> bool:
        return True

    return swapped((Relay, "_note", note), (relay, "_unsaved", lambda _: False))


def note_that_does_not_wait():
    """The relay's note is as durable as the relay's other commits."""
    return reworded("note", lambda text: text.replace("set_config('synchronous_commit', 'on', true)", "'on'"))


def look_ahead_published_under_the_note_before():
    """The note of a page counts for the next one too, which was fetched while it was made."""
    look, note = Relay._look, Relay._note
    first: list[asyncio.Task[Any] | None] = []
    ahead = [False]

    async def tell(self: Relay, at: Any) -> Any:
        found = await look(self, at)
        first[:] = first or [asyncio.current_task()]
        ahead[0] = asyncio.current_task() is not first[0]
        return found

    async def note_once(self: Relay, shift: Shift, life: str) -> bool:
        return ahead[0] or await note(self, shift, life)

    return swapped((Relay, "_look", tell), (Relay, "_note", note_once))


def look_ahead_of_slots_that_are_given_back():
    """What was fetched ahead is published whoever owns its slots by now."""

    class Anything(dict[int, Any]):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    look = Relay._look

    async def whatever(self: Relay, at: Any) -> Any:
        return await look(self, Anything(at))

    return swapped((Relay, "_look", whatever))


def note_of_a_zombie():
    """A note moves positions whoever owns them by now."""
    return reworded("note", lambda text: text.replace("p.rev = (f->>2)::bigint", "f->>2 IS NOT NULL"))


def note_of_another_life():
    """A note is made whether or not the server has crashed since the page was fetched."""
    return reworded("note", lambda text: text.replace("$2 = (", "$2 <> '' OR '' = ("))


def bus_cursor_before_the_commit():
    """The cursor on the bus moves before the effects are committed."""
    write = Committer._write

    async def save_and_write(self: Committer, batch: Any) -> None:
        for (shift, number), finished in _positions(batch).items():
            slot = shift.slots[number]
            if shift.memory is not None:
                await shift.memory.save([(number, slot.rev, slot.window.after(finished)[0])])
        await write(self, batch)

    return swapped((Committer, "_write", save_and_write))


def bus_cursor_of_a_zombie():
    """The bus keeps a cursor whoever owns it by now."""
    return reworded("keep_cursors", lambda text: text.replace("p.rev <= f.rev", "f.rev IS NOT NULL"))


def cursor_kept_over_a_reconnect():
    """A cursor is used on a connection that was opened after it was loaded."""

    async def ask(self: SnapshotSource, statement: str, *args: object) -> Any:
        return await self._store.ask(statement, *args)

    return swapped((SnapshotSource, "_ask", ask))


def fence_off():
    """A position moves whoever owns it by now."""
    return reworded("fence", lambda text: text.replace("p.rev = f.rev", "f.rev IS NOT NULL"))


def fence_of_another_life():
    """A position moves whether or not the server has crashed since it was read."""
    return reworded("fence", lambda text: text.replace("AND f.life = (", "AND '' <> ("))


def inbox_off():
    """Nothing is remembered of what was applied."""
    return reworded(
        "claim_inbox",
        lambda _: "SELECT id FROM unnest($1::text[]) AS each (id) WHERE coalesce($2::text, $3::text, $4::text) <> ''",
    )


def given_back_without_draining():
    """A slot goes to its next owner while messages of it still run here."""
    return swapped((Shift, "has_left", lambda _: True))


def parked_lanes_retried_by_anyone():
    """What is due is tried again by everybody, and not by the owner of its slot."""
    return reworded(
        "due",
        lambda text: text.replace("body, slot FROM", "body, ($6::smallint[])[1] FROM").replace(
            "AND slot = ANY ($6::smallint[])", ""
        ),
    )
