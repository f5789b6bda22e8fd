# pyright: reportUntypedFunctionDecorator=false
"""Wrong uses, one per function: mypy strict and pyright strict reject each. Never run.

Each wrong line carries an ignore for both. If a checker starts to accept it, its ignore is unused, and that is an
error (`warn_unused_ignores`, `reportUnnecessaryTypeIgnoreComment`).
"""

from __future__ import annotations

from eventseam.app.app import App
from eventseam.app.ctx import Ctx
from eventseam.app.tx import SyncTx, Tx

from .shop import (
    ConfirmOrder,
    HasPrinter,
    OrderConfirmed,
    OrderPlaced,
    PlaceOrder,
    orders,
    payments,
)


@orders.on(OrderPlaced)  # type: ignore[arg-type]
async def wrong_event(event: OrderConfirmed, ctx: Ctx) -> None:
    """1. It takes another event than it listens to."""


@orders.handle(PlaceOrder)  # type: ignore[arg-type]
async def wrong_command(cmd: ConfirmOrder, ctx: Ctx) -> None:
    """2. It takes another command, of the same shape."""


@payments.on(OrderPlaced)  # type: ignore[arg-type]
async def missing_dependency(event: OrderPlaced, ctx: Ctx[HasPrinter]) -> None:
    """3. The service has no printer."""


@orders.handle(PlaceOrder)  # type: ignore[arg-type]
async def transaction_without_asking(cmd: PlaceOrder, tx: Tx) -> None:
    """4. handle() records; handle_tx() has a transaction."""


@orders.on_tx(OrderPlaced)  # type: ignore[arg-type]
def def_with_tx(event: OrderPlaced, tx: Tx) -> None:
    """5. A def gets SyncTx: it could not await."""


@orders.handle_tx(PlaceOrder)  # type: ignore[arg-type]
async def async_def_with_sync_tx(cmd: PlaceOrder, tx: SyncTx) -> None:
    """6. An async def gets Tx: SyncTx would block the loop."""


@orders.on(OrderPlaced, OrderConfirmed)  # type: ignore[arg-type]
async def one_of_two(event: OrderPlaced, ctx: Ctx) -> None:
    """7. It listens to two events and takes one."""


@orders.on_batch(OrderPlaced)  # type: ignore[arg-type]
async def not_a_list(event: OrderPlaced, ctx: Ctx) -> None:
    """8. A batch is a list."""


@orders.on(OrderPlaced)  # type: ignore[type-var]
async def event_with_answer(event: OrderPlaced, ctx: Ctx) -> str:
    """9. Nobody awaits the answer to an event."""
    return event.email


async def call_with_another_command(app: App) -> None:
    """10. The handler decides which command is called."""
    await app.call(place, ConfirmOrder("1"))  # type: ignore[arg-type]


async def answer_of_another_type(app: App) -> None:
    """11. The handler decides what the answer is."""
    answer: str = await app.call(place, PlaceOrder("1"))  # type: ignore[arg-type]
    print(answer)


@orders.handle(PlaceOrder, timeout=3)  # type: ignore[call-arg]
async def unknown_option(cmd: PlaceOrder, ctx: Ctx) -> None:
    """12. The unit is part of the name: timeout_seconds."""


@payments.on_tx(OrderPlaced)  # type: ignore[arg-type]
async def missing_dependency_in_tx(event: OrderPlaced, tx: Tx[HasPrinter]) -> None:
    """13. As 3, in a transaction."""


@orders.handle(PlaceOrder)
async def place(cmd: PlaceOrder, ctx: Ctx) -> int:
    """Right, for 10 and 11."""
    return 1
