"""What whoever brings a transport gives the suite beside the port: clients, and faults that can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eventseam.ports.transport import Broker


class Fault(StrEnum):
    """What a stage can do to its broker; each is the method of the same name. A scenario says which ones it needs."""

    INJECT = "inject"
    TRIM = "trim"
    RECREATE = "recreate"
    RESTART = "restart"
    CUT = "cut"
    LOSE_ANSWER = "lose_answer"


class Stage(Protocol):
    """A broker to try things on, with nothing in it that the suite has not made. One stage is for one scenario.

    Stages may share a server: the suite gives every channel and every reader a name that nobody has used. Of the
    methods named after faults only those in `faults` are called; each returns when it has happened.
    """

    @property
    def slots(self) -> int:
        """In how many partitions the suite makes its channels. Give several if the transport can."""
        ...

    @property
    def faults(self) -> frozenset[Fault]:
        """What can be asked for."""
        ...

    async def connect(self) -> Broker:
        """A new client, opened. Several are alive at once; the suite closes them."""
        ...

    async def inject(self, channel: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], body: bytes) -> None:
        """Publish as a foreign program does, with nothing of Eventseam. What the broker cannot hold may be left out."""
        ...

    async def trim(self, channel: str) -> None:
        """Drop every message that is there, as retention does. The channel stays, and its positions go on."""
        ...

    async def recreate(self, channel: str) -> None:
        """Delete a channel and make it again, as wide as it was."""
        ...

    async def restart(self) -> None:
        """Kill the broker's process and start it again."""
        ...

    async def cut(self) -> None:
        """Break every connection. New ones work."""
        ...

    async def lose_answer(self) -> None:
        """The next publish lands in part, or whole, and its sink cannot know."""
        ...


StageFactory = Callable[[], AbstractAsyncContextManager[Stage]]
"""Makes a stage, and ends it."""
