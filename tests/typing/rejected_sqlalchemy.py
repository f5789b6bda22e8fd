"""Wrong uses of SQLAlchemy in handlers: both checkers reject each line. Never run; see rejected.py."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from eventseam.app.ctx import Ctx
from eventseam.app.tx import Tx

shelves = Table("shelves", MetaData(), Column("sku", Integer))


def no_statement(ctx: Ctx) -> None:
    """1. Neither text nor a statement."""
    ctx.write(5)  # type: ignore[call-overload]


def query(ctx: Ctx) -> None:
    """2. A query records nothing, and nobody could read its rows."""
    ctx.write(select(shelves))  # type: ignore[call-overload]


def positional(ctx: Ctx) -> None:
    """3. The values of a statement are rows by name."""
    ctx.write(insert(shelves), 1)  # type: ignore[call-overload]


def async_without_await(tx: Tx) -> None:
    """4. The session of an async def is awaited."""
    print(tx.session.get(int, 1).numerator)  # type: ignore[attr-defined]


def django_on_the_loop(tx: Tx) -> None:
    """5. Django's ORM blocks: only SyncTx has it."""
    with tx.django():  # type: ignore[attr-defined]
        pass
