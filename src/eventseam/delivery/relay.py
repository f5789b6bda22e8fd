"""The relay: copies a journal to a sink, each key's messages in their order, and notes how far it is.

It owns slots as an engine does. What landed is a prefix of what it has published, perhaps twice: it publishes a batch
again until it is in, and starts no later one before. A sink that is down grows the journal and nothing else.

Where a look was not the last of a difference, the next one is under way while its messages are noted and published. Of
that one nothing is published before a note of its own, which begins when it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from eventseam.delivery.item import cause_of, text_of
from eventseam.delivery.ownership import Ownership, Reader
from eventseam.delivery.unsettled import keep_dead
from eventseam.errors import CursorLost, OutcomeUnknown, StorageUnavailable, Undecodable
from eventseam.ports.probe import HandlerFailed, StorageTrouble
from eventseam.ports.transport import EVERY, Cursor, Page

if TYPE_CHECKING:
    from eventseam.delivery.committer import Surroundings
    from eventseam.delivery.options import EngineOptions
    from eventseam.delivery.shift import Shift
    from eventseam.ports.transport import LogSource, Received, Sink

_POLL_FIRST_SECONDS = 0.005
_POLL_MAX_SECONDS = 0.1
_PAUSE_FIRST_SECONDS = 0.05
_PAUSE_MAX_SECONDS = 2.0


class _Look(NamedTuple):
    """What one fetch found behind the cursors `at`, and the newest position it knew of; or what went wrong."""

    at: Mapping[int, Cursor]
    pages: Sequence[Page]
    head: int
    error: Exception | None

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out that had been committed before."""
        return all(page.is_whole for page in self.pages)


class Relay:
    """One journal's way to one sink. `run` does everything."""

    def __init__(self, name: str, source: LogSource, sink: Sink, around: Surroundings, options: EngineOptions) -> None:
        """Wire a relay whose positions are called `name`; nothing starts before `run`.

        It copies every channel that is not `kept` here, also those that nobody here listens to.
        """
        self.name = name
        self.kept: frozenset[str] = frozenset()
        self._source = source
        self._sink = sink
        self._around = around
        self._options = options
        self._ownership = Ownership(Reader(name, name), source, around, options.lease_seconds)
        self._is_resting = False
        self._must_note = False
        self._head = 0
        self._noted = (0.0, -1)

    async def run(self) -> None:
        """Own, read, publish, until cancelled; then give up ownership."""
        try:
            while True:
                shift = await self._ownership.take()
                async with asyncio.TaskGroup() as group:
                    copying = group.create_task(self._copy(shift, group))
                    await self._ownership.keep(shift)
                    copying.cancel()
                self._ownership.lost()
        finally:
            await self._ownership.release()

    async def save(self) -> None:
        """Note soon how far it has looked, also past messages that it does not publish."""
        self._must_note = True

    def is_resting(self) -> bool:
        """Whether its last look found nothing, and everything before is noted."""
        return self._is_resting

    async def _copy(self, shift: Shift, group: asyncio.TaskGroup) -> None:
        """Look, note and publish until the shift is over. `group` runs the look ahead."""
        ahead: asyncio.Task[_Look] | None = None
        try:
            life = await self._life(shift)
            pause = _POLL_FIRST_SECONDS
            while shift.on:
                look, ahead = await self._next(shift, ahead), None
                if isinstance(look.error, CursorLost):
                    shift.end()
                    return
                if isinstance(look.error, StorageUnavailable):
                    await self._around.seams.clock.sleep(_POLL_MAX_SECONDS)
                    continue
                if look.error is not None:
                    raise look.error
                messages = [each for each in _in_order(look.pages) if each.envelope.channel not in self.kept]
                if messages and not look.is_whole:  # there is more to see at once
                    ahead = group.create_task(self._look({**look.at, **{page.slot: page.end for page in look.pages}}))
                if not await self._bring(shift, life, messages):
                    return
                _advance(shift, look.at, look.pages)
                self._head = look.head
                if messages:
                    pause = _POLL_FIRST_SECONDS
                elif look.is_whole:
                    await self._source.wait(pause)
                    pause = min(pause * 1.5, _POLL_MAX_SECONDS)
        finally:
            if ahead is not None:
                ahead.cancel()  # its group waits for it

    async def _next(self, shift: Shift, ahead: asyncio.Task[_Look] | None) -> _Look:
        """What was found ahead; a look of now if there is none, or if slots have come or gone since."""
        look = await ahead if ahead is not None else None
        at = {number: shift.slots[number].window.done for number in shift.staying}
        return look if look is not None and look.at == at else await self._look(at)

    async def _look(self, at: Mapping[int, Cursor]) -> _Look:
        """What there is behind these cursors, or why that is not known: a look ahead must not end what goes on."""
        try:
            pages = await self._source.fetch(at, EVERY, self._options.page_max)
        except Exception as error:  # noqa: BLE001 - raised when its turn has come
            return _Look(at, (), self._head, error)
        return _Look(at, pages, self._source.head, None)

    async def _life(self, shift: Shift) -> str:
        """Which life of the server this is. It is asked where fetches are: none after it is of an earlier one."""
        while shift.on:
            try:
                return str((await self._around.store.ask("life"))[0][0])
            except StorageUnavailable:
                await self._around.seams.clock.sleep(_POLL_MAX_SECONDS)
        return ""

    async def _bring(self, shift: Shift, life: str, messages: Sequence[Received]) -> bool:
        """Note what was done before a look, and publish what it found; False if the shift is over.

        The commit of the note waits for the disk, and so for everything that the look has seen: nothing is published
        that a crash of the server could take back.
        """
        must_note = _unsaved(shift) or self._must_note or self._is_time_to_note()
        self._is_resting = not messages and not must_note
        if (messages or must_note) and not await self._note(shift, life):
            return False
        return not messages or await self._publish(shift, messages)

    def _is_time_to_note(self) -> bool:
        """Whether the journal has grown by what is not published here, and that was not noted for a while."""
        at, head = self._noted
        if self._head == head:
            return False
        return self._around.seams.clock.monotonic() - at > self._options.save_position_seconds

    async def _note(self, shift: Shift, life: str) -> bool:
        """Note how far every slot is, durably; False if the shift is over.

        Where the server has crashed since `life` began, what was seen may be gone, and its numbers given out again.
        """
        slots = {number: shift.slots[number] for number in sorted(shift.slots)}
        moves = [(shift.reader, number, slot.rev, (), *slot.window.done) for number, slot in slots.items()]
        text, seams, pause = msgspec.json.encode(moves).decode(), self._around.seams, _PAUSE_FIRST_SECONDS
        while shift.on:
            seams.at("pre-position")
            try:
                moved = await self._around.store.change("note", text, life)
            except OutcomeUnknown:
                shift.end()
            except StorageUnavailable as error:
                pause = await self._pause(error, pause)
            else:
                seams.at("post-position")
                if moved != len(moves):
                    shift.end()  # where others were moved, that was true
                    return False
                for slot in slots.values():
                    slot.rev += 1
                    slot.saved = slot.window.done
                self._must_note = False
                self._noted = (seams.clock.monotonic(), self._head)
                return True
        return False

    async def _publish(self, shift: Shift, messages: Sequence[Received]) -> bool:
        """Publish until it is in; False if the shift is over. What no envelope could hold whole is kept here."""
        for message in messages:
            if message.problem is not None and not await self._keep(shift, message, Undecodable(message.problem)):
                return False
        messages = [message for message in messages if message.problem is None]
        if not messages:
            return True
        pause = _PAUSE_FIRST_SECONDS
        self._around.seams.at("pre-publish")
        while shift.on:
            try:
                await self._sink.publish(messages)
            except (StorageUnavailable, OutcomeUnknown) as error:
                pause = await self._pause(error, pause)
            except Exception as error:  # noqa: BLE001 - whatever a sink says of a message is that message's own affair
                if len(messages) == 1:
                    return await self._keep(shift, messages[0], error)
                return all([await self._publish(shift, (message,)) for message in messages])
            else:
                self._around.seams.at("post-publish")
                return True
        return False

    async def _keep(self, shift: Shift, message: Received, error: Exception) -> bool:
        """A message that the sink will never take becomes a dead letter: nothing is skipped without a row."""
        pause, now = _PAUSE_FIRST_SECONDS, self._around.seams.clock.now().timestamp()
        while shift.on:
            try:
                await self._around.store.write(lambda sql: keep_dead(sql, self.name, message, cause_of(error), now))
            except (StorageUnavailable, OutcomeUnknown) as trouble:
                pause = await self._pause(trouble, pause)
            else:
                self._tell_dead(message, error)
                return True
        return False

    def _tell_dead(self, message: Received, error: Exception) -> None:
        if self._around.probe is not None:
            envelope, text = message.envelope, f"{type(error).__name__}: {text_of(error)}"
            ids = (envelope.key, envelope.id, envelope.correlation_id)
            self._around.probe.observe(HandlerFailed(self.name, self.name, *ids, 1, text, "dead", 0.0))

    async def _pause(self, error: Exception, pause: float) -> float:
        if self._around.probe is not None:
            self._around.probe.observe(StorageTrouble(str(error), pause))
        await self._around.seams.clock.sleep(pause)
        return min(pause * 2, _PAUSE_MAX_SECONDS)


def _unsaved(shift: Shift) -> bool:
    """Whether something was published that is not noted yet."""
    return any(slot.saved != slot.window.done for slot in shift.slots.values())


def _in_order(pages: Sequence[Page]) -> list[Received]:
    """The messages of all slots, by position: the order in which they were appended."""
    found = [message for page in pages for message in page.messages]
    found.sort(key=lambda message: message.position)
    return found


def _advance(shift: Shift, at: Mapping[int, Cursor], pages: Sequence[Page]) -> None:
    for page in pages:
        slot = shift.slots.get(page.slot)
        if slot is not None and slot.window.done == at[page.slot]:
            slot.window.done = slot.window.scanned = page.end
            if not page.messages and slot.saved == at[page.slot]:
                slot.saved = page.end  # nothing was published: there is nothing to note
