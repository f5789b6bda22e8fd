"""The stage of the example that is a folder of files."""

from __future__ import annotations

import errno
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from eventseam.testing.conformance import Fault
from examples.folder_transport import FolderBroker, Note


class FolderStage:
    """A folder, and what can happen to it."""

    slots = 4
    faults = frozenset({Fault.INJECT, Fault.TRIM, Fault.RECREATE, Fault.LOSE_ANSWER})

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loses_at: int | None = None

    async def connect(self) -> FolderBroker:
        broker = FolderBroker(self._folder)
        put = broker.put

        def put_or_fail(path: Path, content: bytes) -> bool:
            if self._loses_at is not None:
                self._loses_at -= 1
                if self._loses_at < 0:
                    self._loses_at = None
                    raise OSError(errno.EIO, "the disk is gone")
            return put(path, content)

        broker.put = put_or_fail
        await broker.open()
        return broker

    async def inject(self, channel, key, headers, body) -> None:
        broker = FolderBroker(self._folder)
        note = Note(channel, (await broker.layouts([channel]))[channel].incarnation, key, list(headers), body)
        broker.put(self._folder / "slot-1" / f"{broker.last_now(1) + 1:08}.json", msgspec.json.encode(note))

    async def trim(self, channel) -> None:
        for path in self._folder.glob("slot-*/*.json"):
            note = msgspec.json.decode(path.read_bytes(), type=Note)
            if note.channel == channel:
                note.body = None
                path.write_bytes(msgspec.json.encode(note))

    async def recreate(self, channel) -> None:
        broker = FolderBroker(self._folder)
        partitions = (await broker.layouts([channel]))[channel].partitions
        (self._folder / f"{channel}.channel").unlink()
        await broker.create({channel: partitions})

    async def restart(self) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        raise NotImplementedError

    async def lose_answer(self) -> None:
        self._loses_at = 17


@asynccontextmanager
async def folder_stage(folder: Path):
    yield FolderStage(folder)
