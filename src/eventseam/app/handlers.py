"""A service at work: its declarations over built dependencies become the handlers that the engine runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from eventseam.app.ctx import Ctx, Inline, Publisher, Seat
from eventseam.app.decorators import D
from eventseam.app.runners import (
    acceptance,
    call_of,
    run_in_thread,
    run_on_loop,
    run_tx_in_thread,
    run_tx_on_loop,
)
from eventseam.app.tools import Tools
from eventseam.app.tx import Tx, TxNotes
from eventseam.delivery.handler import Handler, Record, outgoing
from eventseam.errors import WiringError

if TYPE_CHECKING:
    from eventseam.app.declare import Declaration
    from eventseam.app.service import Service
    from eventseam.clock import Seams
    from eventseam.contracts.message import MessageType
    from eventseam.contracts.registry import Registry
    from eventseam.ports.sql import Sql


class Bench(Generic[D]):
    """One service with its dependencies: its handlers, its transactions and what it publishes from outside handlers.

    `foreign` names the internal channels of other services (`wiring.foreign_channels`); `dialect` is the store's.
    """

    def __init__(
        self,
        service: Service[D],
        seams: Seams,
        deps: D,
        foreign: frozenset[str] = frozenset(),
        dialect: str = "sqlite",
    ) -> None:
        """Wire the inline handlers; nothing runs yet."""
        self.service = service
        commands = frozenset(each.types[0].name for each in service.declarations if each.kind == "command")
        self.publisher = Publisher(service.name, commands, foreign)
        self._seams = seams
        self._deps = deps
        self._tools = Tools(dialect)
        for each in service.declarations:
            if each.inline:
                inline = Inline(self._seat(each.name), call_of(each), each.is_async, acceptance(each))
                for known in each.types:
                    self.publisher.hear(known.cls, inline)

    def handlers(self, registry: Registry) -> tuple[Handler, ...]:
        """The handlers that the engine calls, in the order of the code. Inline ones are not among them.

        Raises WiringError for a handler of an old version: it would never see a message.
        """
        for each in self.service.declarations:
            _check_newest(each, registry)
        return tuple(self._handler(each, registry) for each in self.service.declarations if not each.inline)

    def transaction(self, sql: Sql) -> tuple[Tx[D], TxNotes]:
        """A transaction that no message opened. `await runners.finish(notes)` gives what it wants appended."""
        notes = TxNotes([], [], [], sql, self._tools)
        ctx: Ctx[D] = Ctx(self._seat("transaction"), notes, ())
        return Tx(ctx, notes), notes

    def _seat(self, handler: str) -> Seat:
        return Seat(self.service.name, handler, self._deps, self._seams, self.publisher, self._tools)

    def _handler(self, each: Declaration, registry: Registry) -> Handler:
        seat, tx, on_loop = self._seat(each.name), each.mode == "tx", each.is_async
        return Handler(
            service=self.service.name,
            name=each.name,
            mode=each.mode,
            takes=_takes(each, registry),
            decode=registry.decode,
            retry=each.options.retry,
            circuit=each.options.circuit,
            timeout_seconds=each.options.timeout_seconds,
            batch_max=each.options.batch_max,
            run=run_on_loop(each, seat) if on_loop and not tx else None,
            run_blocking=run_in_thread(each, seat) if not on_loop and not tx else None,
            run_tx=run_tx_on_loop(each, seat) if on_loop and tx else None,
            run_blocking_tx=run_tx_in_thread(each, seat) if not on_loop and tx else None,
        )


def record_of(event: object) -> Record:
    """What is applied in place of a refused message's record: its event, encoded now. Raises ContractError."""
    return Record(messages=[outgoing(event)])


def _check_newest(each: Declaration, registry: Registry) -> None:
    for known in each.types:
        newest = registry.newest(known)
        if newest is not known:
            raise WiringError(
                f"{each.place} takes {known.cls.__name__} ({known.wire}), but handlers see the newest version only. "
                f"Take {newest.cls.__name__} ({newest.wire})."
            )


def _takes(each: Declaration, registry: Registry) -> dict[str, MessageType[Any]]:
    return {wire: known for known in each.types for wire in registry.wires_for(known)}
