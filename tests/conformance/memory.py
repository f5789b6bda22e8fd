"""The stage of the memory transport, in each of its profiles."""

from __future__ import annotations

from contextlib import asynccontextmanager

from eventseam import Seams
from eventseam.testing.conformance import Fault
from eventseam.transports.memory import MemoryBroker, MemoryServer


class MemoryStage:
    """A server in memory, and what can happen to it."""

    slots = 4
    faults = frozenset(Fault)

    def __init__(self, profile: str) -> None:
        self.server = MemoryServer(profile, Seams())

    async def connect(self) -> MemoryBroker:
        broker = MemoryBroker(self.server)
        await broker.open()
        return broker

    async def inject(self, channel, key, headers, body) -> None:
        self.server.inject(channel, key, headers, body)

    async def trim(self, channel) -> None:
        self.server.trim(channel)

    async def recreate(self, channel) -> None:
        self.server.recreate(channel)

    async def restart(self) -> None:
        self.server.restart()

    async def cut(self) -> None:
        self.server.cut()

    async def lose_answer(self) -> None:
        self.server.lose_answer(17)


@asynccontextmanager
async def memory_stage(profile: str):
    yield MemoryStage(profile)
