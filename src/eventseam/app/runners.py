"""One closure per handler and form, made at start, so that a message costs a record, a context and little else.

An attempt notes what its handler wants, runs the inline handlers of what it published (breadth first, in the same
record), and closes into a Record. A handler that gives back what nobody can use fails its attempt with EventseamError
that names it: a coroutine that was never awaited, a generator, a value from an event handler.
"""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from eventseam.app.ctx import CLOSED_SQL, Ctx, Notes
from eventseam.app.lent import driver_error
from eventseam.app.tx import SyncTx, Tx, TxNotes
from eventseam.errors import EventseamError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from eventseam.app.ctx import Seat
    from eventseam.app.declare import Declaration
    from eventseam.delivery.handler import Incoming, Record, RunAsync, RunAsyncTx, RunBlocking, RunBlockingTx
    from eventseam.ports.sql import Sql

INLINE_EVENTS_MAX = 1_000
"""How many inline events one record may hold; more is taken for a loop."""

GENERATORS = (GeneratorType, AsyncGeneratorType)


def run_on_loop(each: Declaration, seat: Seat) -> RunAsync:
    """An `async def` that records, for one message or a batch."""
    call, accept, several = call_of(each), acceptance(each), each.mode == "batch"

    async def run(batch: Sequence[Incoming]) -> Record:
        notes = Notes([], [], [], CLOSED_SQL)
        ctx: Ctx[Any] = Ctx(seat, notes, batch)
        answer = await call([one.message for one in batch] if several else batch[0].message, ctx)
        if answer is not None:
            accept(answer)
        if notes.queue:
            await run_inline(notes)
        return notes.close(answer)

    return run


def run_in_thread(each: Declaration, seat: Seat) -> RunBlocking:
    """A `def` that records, for one message or a batch."""
    call, accept, several = call_of(each), acceptance(each), each.mode == "batch"

    def run(batch: Sequence[Incoming]) -> Record:
        notes = Notes([], [], [], CLOSED_SQL)
        ctx: Ctx[Any] = Ctx(seat, notes, batch)
        answer = call([one.message for one in batch] if several else batch[0].message, ctx)
        if answer is not None:
            accept(answer)
        if notes.queue:
            _without_loop(run_inline(notes), each)
        return notes.close(answer)

    return run


def run_tx_on_loop(each: Declaration, seat: Seat) -> RunAsyncTx:
    """An `async def` with a transaction of its own."""
    function, accept = each.function, acceptance(each)

    async def run(batch: Sequence[Incoming], sql: Sql) -> Record:
        notes = TxNotes([], [], [], sql, seat.tools)
        tx: Tx[Any] = Tx(Ctx(seat, notes, batch), notes)
        try:
            answer = await function(batch[0].message, tx)
            if answer is not None:
                accept(answer)
            return await finish(notes, answer)
        except Exception as error:
            if (cause := driver_error(error)) is error:
                raise
            raise cause from error
        finally:
            notes.close()  # a task left behind must not write into somebody else's transaction

    return run


def run_tx_in_thread(each: Declaration, seat: Seat) -> RunBlockingTx:
    """A `def` with a transaction of its own, on a blocking connection."""
    function, accept = each.function, acceptance(each)

    def run(batch: Sequence[Incoming], sql: Sql) -> Record:
        notes = TxNotes([], [], [], sql, seat.tools)
        tx: SyncTx[Any] = SyncTx(Ctx(seat, notes, batch), notes)
        try:
            answer = function(batch[0].message, tx)
            if answer is not None:
                accept(answer)
            record: Record = _without_loop(finish(notes, answer), each)
            return record
        except Exception as error:
            if (cause := driver_error(error)) is error:
                raise
            raise cause from error
        finally:
            notes.close()

    return run


async def finish(notes: TxNotes, answer: object = None) -> Record:
    """End a transaction: flush its session, run inline handlers, send their writes; give back what to append."""
    await notes.flush()
    if notes.queue:
        await run_inline(notes)
    for statement, args in notes.writes:
        await notes.sql.rows(statement, *args)
    notes.writes.clear()
    return notes.close(answer)


async def run_inline(notes: Notes) -> None:
    """Give each queued event to its handlers, in order; what they publish joins the end of the queue.

    Raises EventseamError that names the loop after `INLINE_EVENTS_MAX` events.
    """
    for step, (route, event, batch) in enumerate(notes.queue, 1):
        if step > INLINE_EVENTS_MAX:
            raise EventseamError(_loop(notes))
        for seat, call, is_async, refuse in route.inline:
            ctx: Ctx[Any] = Ctx(seat, notes, batch, step)
            answer = await call(event, ctx) if is_async else call(event, ctx)
            if answer is not None:
                refuse(answer)


def call_of(each: Declaration) -> Callable[[Any, Any], Any]:
    """The handler as a function of message and context; the context is dropped where the handler leaves it out."""
    function = each.function
    return function if each.takes_ctx else lambda message, _ctx: function(message)


def acceptance(each: Declaration) -> Callable[[object], None]:
    """What is asked of an answer other than None: a command's must be finished, an event has none.

    The function raises EventseamError for an answer that nobody can use.
    """

    def refuse(answer: object) -> None:
        raise EventseamError(_unusable(each, answer))

    def accept(answer: object) -> None:
        if _is_unfinished(answer):
            raise EventseamError(_unusable(each, answer))

    return accept if each.kind == "command" else refuse


def _is_unfinished(answer: object) -> bool:
    """Whether an answer stands for work that has not been done. (Abstract classes would cost 1 us per answer.)"""
    return isinstance(answer, GENERATORS) or hasattr(answer, "__await__")


def _unusable(each: Declaration, answer: object) -> str:
    what = f"{each.place} returned a {type(answer).__name__}"
    if isinstance(answer, CoroutineType):
        answer.close()  # it would warn that it was never awaited, of a place that nobody knows
        return f"{what}: its work was never done. Make the handler an async def and await there."
    if _is_unfinished(answer):
        return f"{what}: its work was never done. Finish it before returning."
    return f"{what}, but nobody awaits an answer to an event. Return None; to tell others, publish an event."


def _loop(notes: Notes) -> str:
    steps = [f"{route.type.wire} -> {', '.join(one.seat.handler for one in route.inline)}" for route, *_ in notes.queue]
    around = list(dict.fromkeys(steps[INLINE_EVENTS_MAX - 50 : INLINE_EVENTS_MAX]))
    return (
        f"One record holds more than {INLINE_EVENTS_MAX:,} inline events: {'; '.join(around)}. "
        "If their handlers publish each other's events, break the loop; else leave inline=True out of one."
    )


def _without_loop(operation: Coroutine[Any, Any, Any], each: Declaration) -> Any:  # noqa: ANN401 - what it returns
    """Finish inline handlers and statements in the thread of a `def`, where nothing can be waited for."""
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value
    operation.close()
    raise EventseamError(
        f"{each.place} is a def and published to an inline handler that has to wait, which a thread without a loop "
        "cannot. Make the inline handler a def, or its publisher an async def."
    )
