"""`tx.session`: a session of SQLAlchemy inside the transaction of a handler, flushed before the messages are appended.

One engine is kept per connection of ours, since making one costs as much as a hundred statements. The session never
commits: the handler's return does, with everything else that the transaction holds.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from eventseam.app.lent import (
    LentAsyncpg,
    LentConnection,
    PerConnection,
    check_whole,
    own_cursor,
    raw_of,
    refuse_commit,
    refuse_rollback,
    step_of,
)
from eventseam.errors import EventseamError, WiringError
from eventseam.ports.sql import run_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventseam.ports.sql import Sql


class _Kept(NamedTuple):
    lent: LentConnection | LentAsyncpg
    engine: Any


class OpenSession:
    """The session of one transaction."""

    def __init__(self, lent: LentConnection | LentAsyncpg, session: Any, *, is_async: bool) -> None:  # noqa: ANN401 - of either colour
        """Use `session`, which works on `lent`."""
        self.session = session
        self._lent = lent
        self._is_async = is_async

    async def flush(self) -> None:
        """Send what is new or changed, before the messages. Raises EventseamError if something was rolled back."""
        if self._is_async:
            await self.session.flush()
        else:
            self.session.flush()
        check_whole(rolled_back=self._lent.rolled_back)

    def end(self) -> None:
        """Make the session unusable; the transaction is the store's to end."""
        if self._is_async:
            from sqlalchemy.util import greenlet_spawn

            run_sync(greenlet_spawn(self.session.sync_session.end))  # it waits for nothing: the connection is lent
        else:
            self.session.end()
        self._lent.take_back()


class Sessions:
    """The engines of one service on the connections of one store. Usable from every thread."""

    def __init__(self, dialect: str) -> None:
        """Make nothing yet."""
        self._dialect = dialect
        self._blocking = PerConnection(functools.partial(_blocking_engine, dialect))
        self._asyncpg = PerConnection(_asyncpg_engine)

    def open(self, sql: Sql) -> OpenSession:
        """A session for a `def` handler. Raises WiringError where the driver's connection is not to be had."""
        kept = self._blocking.of(raw_of(sql, "tx.session"))
        kept.lent.lend(step_of(sql))
        return OpenSession(kept.lent, _classes()[0](engine=kept.engine), is_async=False)

    def open_async(self, sql: Sql) -> OpenSession:
        """A session for an `async def` handler. Raises as `open` does."""
        raw = raw_of(sql, "tx.session")
        if self._dialect == "postgresql":
            kept = self._asyncpg.of(raw)
            kept.lent.lend(step_of(sql))
        else:
            kept = self._blocking.of(raw)
            kept.lent.lend(functools.partial(_hop, sql))
        blocking, suspending = _classes()
        session = suspending(sync_session_class=blocking, engine=kept.engine)
        return OpenSession(kept.lent, session, is_async=True)


@functools.cache
def _classes() -> tuple[type[Any], type[Any]]:
    """The session class of `def` handlers, and that of `async def` ones: made when SQLAlchemy is there."""
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    class HandlerSession(Session):
        """A session that neither commits nor rolls back, and is unusable after its handler."""

        def __init__(self, engine: Any, **_binds: object) -> None:  # noqa: ANN401 - SQLAlchemy's
            super().__init__(expire_on_commit=False)
            self._engine = engine
            self._is_over = False

        def get_bind(self, *_args: Any, **_options: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's
            if self._is_over:
                raise EventseamError(
                    "tx.session was used after its handler had returned: its transaction is over. Read what you need "
                    "before you return, and await the tasks that the handler starts."
                )
            return self._engine

        def commit(self) -> None:
            refuse_commit()

        def rollback(self) -> None:
            refuse_rollback()

        def close(self) -> None:
            """Nothing: `with tx.session as session` ends with the handler."""

        def end(self) -> None:
            self._is_over = True
            super().close()

    return HandlerSession, AsyncSession


def _kept(lent: LentConnection | LentAsyncpg, engine: Any) -> _Kept:  # noqa: ANN401 - SQLAlchemy's
    """An engine asks the server who it is when it first connects, and rolls that back: no handler did."""
    from sqlalchemy import event

    event.listen(engine, "connect", lambda *_: lent.begin_anew())
    return _Kept(lent, engine)


def _hop(sql: Sql, step: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the step gives
    """Run a step in the thread of a blocking connection, from within SQLAlchemy's greenlet."""
    from sqlalchemy.util import await_only

    run = getattr(sql, "run", None)
    if run is None:
        raise WiringError(
            "tx.session cannot work in an async def handler on this database. Make the handler a def (tx: SyncTx)."
        )
    return await_only(run(step))


def _blocking_engine(dialect: str, raw: Any) -> _Kept:  # noqa: ANN401 - the driver's
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    if dialect == "sqlite":
        lent = LentConnection(raw, own_cursor)
        engine = create_engine("sqlite://", creator=lambda: lent, poolclass=StaticPool, pool_reset_on_return=None)
    else:
        lent = LentConnection(raw, _psycopg_cursor)
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: lent,
            poolclass=StaticPool,
            pool_reset_on_return=None,
            use_native_hstore=False,  # it would ask the server at the first connect
        )
    return _kept(lent, engine)


def _psycopg_cursor(connection: Any, *_args: object, **_options: object) -> Any:  # noqa: ANN401 - psycopg is optional
    """A cursor as SQLAlchemy wants it, whatever the connection's own factories give."""
    import psycopg
    from psycopg.rows import tuple_row

    return psycopg.Cursor(connection, row_factory=tuple_row)


def _asyncpg_engine(raw: Any) -> _Kept:  # noqa: ANN401 - asyncpg is optional
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import StaticPool

    lent = LentAsyncpg(raw)

    async def connect() -> Any:  # noqa: ANN401 - what stands in for an asyncpg connection
        return lent

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=StaticPool, pool_reset_on_return=None
    )
    _reads_json_text(engine.sync_engine.dialect)
    return _kept(lent, engine.sync_engine)


def _reads_json_text(dialect: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
    """Decode JSON in SQLAlchemy: its own way, a codec on the connection, would change what the engine itself reads."""
    from sqlalchemy import JSON
    from sqlalchemy.dialects.postgresql import json

    dialect.supports_native_json_deserialization = False
    dialect.colspecs = {**dialect.colspecs, JSON: json.JSON, json.JSONB: json.JSONB}  # SQLAlchemy 2.0
