"""A transport that is a folder: how to write one, in one file. It is no way to run anything that matters.

`FOLDER/orders.channel` says what a channel is like; `FOLDER/slot-3/00000017.json` is the 17th message of the fourth
partition, of whatever channel: its number is its position.
"""
# ruff: noqa: ANN401, ARG002, D102, INP001, TC003 - what its methods promise is said in eventseam.ports.transport

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from eventseam import Seams
from eventseam.errors import OutcomeUnknown, StorageError, StorageUnavailable, TooLarge
from eventseam.ports.transport import Capabilities, Cursor, Feature, Layout, Page, Received, Starts
from eventseam.ports.wire import Place, Style, inward, outward
from eventseam.threads import Threads

BODY_BYTES_MAX = 1_048_576


class Note(msgspec.Struct):
    """What a message's file holds. `body` is None when retention has dropped it: the file stays, to tell of the gap."""

    channel: str
    incarnation: str
    key: bytes | None
    headers: list[tuple[str, bytes]]
    body: bytes | None


class FolderBroker:
    """See ports.transport.Broker, and Sink: it is both."""

    capabilities = Capabilities(
        frozenset(Feature), "the page cache", "per key", "from our own position", "our inbox", "none", BODY_BYTES_MAX
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._threads = Threads("folder", 2)

    async def run(self, body: Callable[..., Any], *args: Any) -> Any:
        """Files block: touch them in a thread, and let no error pass that is not Eventseam's."""
        try:
            return await self._threads.run(partial(body, *args))
        except OSError as error:
            raise StorageUnavailable(f"{self.folder}: {error.strerror}. Is it there, may we write to it?") from error

    async def open(self) -> None:
        await self.run(lambda: self.folder.mkdir(parents=True, exist_ok=True))

    async def layouts(self, channels: Collection[str]) -> Mapping[str, Layout]:
        paths = {channel: self.folder / f"{channel}.channel" for channel in channels}
        found = await self.run(lambda: {name: path.read_bytes() for name, path in paths.items() if path.exists()})
        return {channel: Layout(*msgspec.json.decode(text)) for channel, text in found.items()}

    async def create(self, wanted: Mapping[str, int]) -> None:
        for channel, partitions in wanted.items():
            layout = msgspec.json.encode((partitions, Seams().ids.new()))
            await self.run(self.put, self.folder / f"{channel}.channel", layout)

    def put(self, path: Path, content: bytes) -> bool:
        """Make a file, whole or not at all; False if there is one already."""
        path.parent.mkdir(exist_ok=True)
        draft = path.with_name(f".{Seams().ids.new()}")
        draft.write_bytes(content)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def behind_now(self, slot: int, number: int, channels: Collection[Any]) -> Iterator[tuple[int, Note, float]]:
        """Number, content and time of what lies behind a number, of channels and their incarnations."""
        while (path := self.folder / f"slot-{slot}" / f"{number + 1:08}.json").exists():
            number += 1
            note = msgspec.json.decode(path.read_bytes(), type=Note)
            if (note.channel, note.incarnation) in channels:
                yield number, note, path.stat().st_mtime

    def last_now(self, slot: int) -> int:
        return max((int(path.stem) for path in (self.folder / f"slot-{slot}").glob("*.json")), default=0)

    async def begin(self, reader: str, channels: Collection[str], slots: int, starts: Starts) -> Mapping[int, Cursor]:
        mine = tuple((channel, layout.incarnation) for channel, layout in (await self.layouts(channels)).items())
        return {slot: (await self.run(self.first_now, slot, mine, starts), mine) for slot in range(slots)}

    def first_now(self, slot: int, mine: Any, starts: Starts) -> int:
        """The number behind which a new reader begins."""
        since = starts.timestamp() if isinstance(starts, datetime) else 0.0
        last = self.last_now(slot)  # before looking: what comes meanwhile is new
        old = () if starts == "now" else self.behind_now(slot, 0, mine)
        return next((number - 1 for number, note, time in old if time >= since and note.body is not None), last)

    async def behind(self, at: Mapping[int, Cursor]) -> Mapping[int, int]:
        return await self.run(lambda: {slot: sum(1 for _ in self.behind_now(slot, *at[slot])) for slot in at})

    def source(self, reader: str, channels: Sequence[str], slots: int) -> FolderSource:
        return FolderSource(self, slots)

    def sink(self) -> FolderBroker:
        return self

    async def publish(self, batch: Sequence[Received]) -> None:
        if any(len(message.body) > BODY_BYTES_MAX for message in batch):
            raise TooLarge(f"a body is larger than {BODY_BYTES_MAX:,} bytes")
        channels = {message.envelope.channel for message in batch}
        await self.create(dict.fromkeys(channels, 4))  # those that are not there
        await self.run(self.publish_now, batch, await self.layouts(channels))

    def publish_now(self, batch: Sequence[Received], layouts: Mapping[str, Layout]) -> None:
        """One after another, so that what is in when something fails is a prefix."""
        ready: list[tuple[int, bytes]] = []
        for message in batch:
            channel, key = message.envelope.channel, message.envelope.key.encode()
            headers, body = outward(message, Style())
            note = Note(channel, layouts[channel].incarnation, key, [(k, v.encode()) for k, v in headers.items()], body)
            ready.append((zlib.crc32(key) % layouts[channel].partitions, msgspec.json.encode(note)))
        last: dict[int, int] = {}
        try:
            for slot, content in ready:
                number = last.get(slot, 0) or self.last_now(slot)
                while not self.put(self.folder / f"slot-{slot}" / f"{number + 1:08}.json", content):
                    number += 1  # another publisher was quicker
                last[slot] = number + 1
        except OSError as error:
            raise OutcomeUnknown(f"{self.folder}: {error.strerror}. A part may have landed") from error

    async def close(self) -> None:
        self._threads.close()


@dataclass
class FolderSource:
    """See ports.transport.LogSource."""

    broker: FolderBroker
    slots: int
    head: int = 0
    shape: Literal["log"] = "log"
    memory: None = None
    is_apart: bool = True
    offered: Collection[int] | None = None
    cap_by: Literal["slot"] = "slot"

    async def prepare(self) -> None:
        """Nothing is kept ready."""

    async def own(self, slots: Collection[int]) -> None:
        """Nothing is kept ready."""

    async def fetch(self, at: Mapping[int, Cursor], channels: Sequence[str], limit: int) -> Sequence[Page]:
        return await self.broker.run(self._fetch, at, limit, await self.broker.layouts(channels))

    def _fetch(self, at: Mapping[int, Cursor], limit: int, there: Mapping[str, Layout]) -> list[Page]:
        pages: list[Page] = []
        for count, (slot, (number, mine)) in enumerate(at.items()):
            if any(channel not in there or there[channel].incarnation != name for channel, name in mine):
                raise StorageError(f"a channel of {self.broker.folder} was deleted and made again: begin anew")
            share = -(-limit // (len(at) - count))  # of what is left, so that no slot takes it all
            messages, is_whole = self._read(slot, number, mine, share)
            limit -= len(messages)
            end = messages[-1].position if messages else number
            pages.append(Page(slot, messages, (end, mine), lambda position, mine=mine: (position, mine), is_whole))
        return pages

    def _read(self, slot: int, number: int, mine: Any, limit: int) -> tuple[list[Received], bool]:
        """Messages behind a number, and whether that is all there are."""
        messages: list[Received] = []
        for position, note, time in self.broker.behind_now(slot, number, mine):
            if len(messages) == limit:
                return messages, False
            if note.body is None:
                raise StorageError(f"slot {slot} was trimmed at {position}, which this reader has not read")
            moment = datetime.fromtimestamp(time, UTC)
            place = Place(position, note.channel, f"{note.channel}-{slot}-{position}", note.key, moment)
            messages.append(inward(note.headers, note.body, place, Style()))
            self.head += 1
        return messages, True

    async def wait(self, timeout_seconds: float) -> None:
        await asyncio.sleep(min(timeout_seconds, 0.02))

    async def report(self, done: Mapping[int, Cursor]) -> None:
        """Nobody looks."""

    async def close(self) -> None:
        """Nothing is held."""
