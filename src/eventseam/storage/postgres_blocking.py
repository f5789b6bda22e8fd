"""Transactions for `def` handlers: psycopg connections in a bounded pool of threads, lent to one body at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import psycopg

from eventseam.errors import EventseamError, OutcomeUnknown, StorageUnavailable
from eventseam.storage.postgres_connect import (
    BEGIN,
    FAILED,
    WHO_IS_THERE,
    WHOSE_JOURNAL,
    keepalive,
    refused,
    session,
    verify,
    verify_journal,
)
from eventseam.storage.postgres_errors import (
    ends_connection,
    is_out_of_reach,
    is_outdated,
    is_to_repeat,
    is_trouble,
    out_of_reach,
    told,
)
from eventseam.storage.postgres_lease import LentSql
from eventseam.storage.postgres_psycopg import PsycopgSql
from eventseam.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventseam.clock import Seams
    from eventseam.ports.sql import Opening, Sql
    from eventseam.storage.postgres_connect import PostgresOptions
    from eventseam.storage.postgres_url import Address

T = TypeVar("T")

_CANCEL_AGAIN_SECONDS: Final = 0.05
_CANCEL_SECONDS: Final = 2.0


class Blocking:
    """Runs bodies in threads, each in one transaction. The caller bounds how many run at once."""

    def __init__(self, address: Address, options: PostgresOptions, seams: Seams) -> None:
        """Start and open nothing yet."""
        self._address = address
        self._options = options
        self._seams = seams
        self._threads = Threads("eventseam-tx", options.transactions_max)
        self._helpers = Threads("eventseam-tx-help", 4)
        self._idle: list[PsycopgSql] = []
        self._is_known = False

    async def run(self, body: Callable[[Sql], T], opening: Opening | None = None) -> T:
        """Run `body` in a thread, in a transaction. Cancelled, take its connection away. See ports.sql.Store."""
        sql = self._idle_one()
        if sql is None:
            sql = await self._helpers.run(self._open)
        lent = LentSql(sql)
        try:
            return await self._threads.hurry(lambda: self._lend(lent, body, opening))
        except asyncio.CancelledError:
            await self._take_away(lent)
            raise
        finally:
            if not lent.raw.closed:
                self._idle.append(lent.sql)

    async def close(self) -> None:
        """Close what is idle. Idempotent."""
        while self._idle:
            await self._helpers.run(self._idle.pop().raw.close)
        self._threads.close()
        self._helpers.close()

    def _idle_one(self) -> PsycopgSql | None:
        while self._idle:
            sql = self._idle.pop()
            if not sql.raw.closed:
                return sql
        return None

    def _lend(self, lent: LentSql, body: Callable[[Sql], T], opening: Opening | None) -> T:
        try:
            lent.begin(BEGIN.encode(), opening, self._open)
            self._seams.at("begin")
            result = body(lent)
            self._seams.at("pre-commit")
        except BaseException as error:  # noqa: BLE001 - raised again, as what it means
            self._give_up(lent, error)
        else:
            lent.run(lambda: self._commit(lent.sql))
            self._seams.at("post-commit")
            return result
        finally:
            lent.end()

    def _give_up(self, lent: LentSql, error: BaseException) -> NoReturn:
        if is_outdated(error):
            lent.run(lent.raw.close)
        if lent.sql.is_ours and is_out_of_reach(error):
            raise out_of_reach(told(self._address.shown, error)) from error
        is_trouble_here = lent.raw.closed or is_to_repeat(error) or is_trouble(error)
        if is_trouble_here and isinstance(error, Exception) and not isinstance(error, StorageUnavailable):
            raise StorageUnavailable(told(self._address.shown, error)) from error
        raise error

    def _commit(self, sql: PsycopgSql) -> None:
        raw = sql.raw
        if raw.closed:
            raise StorageUnavailable(f"{self._address.shown}: the connection was lost. Nothing was committed.")
        try:
            status = sql.commit()
        except psycopg.Error as error:
            if raw.broken or ends_connection(error):
                raise OutcomeUnknown(f"{told(self._address.shown, error)} It may have committed.") from error
            if sql.is_ours and is_out_of_reach(error):
                raise out_of_reach(told(self._address.shown, error)) from error
            if is_to_repeat(error) or is_trouble(error):
                raise StorageUnavailable(told(self._address.shown, error)) from error
            raise
        if status == "ROLLBACK":
            raise EventseamError(FAILED)

    async def _take_away(self, lent: LentSql) -> None:
        """Cancel what a body runs until it lets go of its connection; cut the network if the server does not help."""
        clock = self._seams.clock
        ends = clock.monotonic() + _CANCEL_SECONDS
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(self._helpers.run(lent.take_away))
            while clock.monotonic() < ends:
                await asyncio.wait([taking], timeout=_CANCEL_AGAIN_SECONDS)
                if taking.done():
                    return
                await self._helpers.run(lent.cancel)
            lent.cut()

    def _open(self) -> PsycopgSql:
        place = self._address.shown
        options = " ".join(
            [self._address.options, *(f"-c {name}={_escaped(value)}" for name, value in self._session().items())]
        )
        try:
            raw: psycopg.Connection[Any] = psycopg.connect(
                self._address.libpq,
                autocommit=True,
                application_name=session(self._address, self._options, "handler")["application_name"],
                options=options.strip(),
                client_encoding="UTF8",
                **keepalive(self._options),  # type: ignore[arg-type]
            )
        except psycopg.Error as error:
            raise refused(self._address, error, known=self._is_known) from error
        try:
            who = raw.execute(WHO_IS_THERE).fetchone()
            assert who is not None
            if verify(place, who, raw.info.backend_pid) and self._options.checks_cluster:
                row = raw.execute(WHOSE_JOURNAL).fetchone()
                verify_journal(place, who[4], row[0] if row else None)
        except psycopg.Error as error:
            raw.close()
            raise refused(self._address, error, known=True) from error
        except BaseException:
            raw.close()
            raise
        self._is_known = True
        return PsycopgSql(raw)

    def _session(self) -> dict[str, str]:
        settings = session(self._address, self._options, "handler")
        return {name: value for name, value in settings.items() if name not in ("application_name", "options")}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
