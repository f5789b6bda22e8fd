"""A SQLAlchemy Session: what is published on it is kept with it, and inserted last of all when it commits.

Each message belongs to the transaction or savepoint that was innermost when it was published. A savepoint that is
released hands its messages to the one around it; one that ends in any other way, or a session that is closed, takes
them along. Nothing is written before the commit, so a session that is forgotten publishes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from eventseam.errors import EventseamError, NotInTransaction, WiringError
from eventseam.ports.sql import run_sync
from eventseam.storage.guests.sqlalchemy import check_dialect, guest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from sqlalchemy.orm import Session, SessionTransaction
    from sqlalchemy.sql.dml import Insert

    from eventseam.storage.guests.guest import Guest

    Settle = Callable[[Guest, Sequence[Any]], Coroutine[Any, Any, None]]

_KEY = "eventseam"
_FLUSHES_MAX = 100


class SessionGuest:
    """A Session; an AsyncSession's is its `sync_session`."""

    def __init__(self, session: Session) -> None:
        """Raises WiringError for a session without one database, or of one that has no journal."""
        from sqlalchemy.exc import UnboundExecutionError

        try:
            check_dialect(session.get_bind(clause=_an_insert()).dialect)
        except UnboundExecutionError as error:
            raise WiringError(
                "this session does not tell which database events go to. Give it that one: Session(engine)"
            ) from error
        self._session = session

    def record(self, message: object, settle: Settle) -> None:
        """Keep `message` until the session commits, when `settle` writes all that was kept. Raises NotInTransaction."""
        session = self._session
        if not session.in_transaction():
            if not session.autobegin:
                raise NotInTransaction(
                    "publishing on a session with autobegin=False, outside a transaction. Write: with session.begin(): "
                    "your own writes and publish(…)"
                )
            session.begin()
        kept: _Kept = session.info.get(_KEY) or _Kept(session, settle)
        kept.add(session, message)


class _Entry(NamedTuple):
    owner: object
    message: object


class _Kept:
    """What was published on one session and is not written yet."""

    def __init__(self, session: Session, settle: Settle) -> None:
        from sqlalchemy import event

        self._settle = settle
        self._entries: list[_Entry] = []
        self._writing = False
        event.listen(session, "before_commit", self._before_commit)
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_transaction_end", self._after_end)
        session.info[_KEY] = self

    def add(self, session: Session, message: object) -> None:
        owner = session.get_nested_transaction() or session.get_transaction()
        if owner is None or not owner.is_active:
            raise NotInTransaction(
                "this session's transaction has failed or is over, so that nothing of it can be committed any more. "
                "Call session.rollback(), write again, then publish"
            )
        self._entries.append(_Entry(owner, message))
        # Published by a hook of the user's within the commit: ours may have been passed already.
        if _is_committing(session) and not _is_flushing(session) and not self._writing:
            self._write(session)

    def _before_commit(self, session: Session) -> None:
        if _is_committing(session) or not session.in_nested_transaction():  # not only a savepoint's release
            self._write(session)

    def _after_commit(self, session: Session) -> None:
        ended = session.get_nested_transaction()
        if ended is not None:
            around = _around(ended)
            self._entries = [each._replace(owner=around) if each.owner is ended else each for each in self._entries]
        elif self._entries:  # pragma: no cover - nothing known leads here, and it must not be silent
            self._entries = []
            message = "a session has committed without the events that were published on it"
            raise EventseamError(message)

    def _after_end(self, session: Session, ended: SessionTransaction) -> None:
        self._entries = [each for each in self._entries if each.owner is not ended]
        around = ended.parent
        flush_is_over = around is not None and not ended.nested and around.is_active
        if flush_is_over and not self._writing and _is_committing(session):
            self._write_now(session)  # its hooks published, and ours at the commit has been passed

    def _write(self, session: Session) -> None:
        if not self._entries:
            return
        self._writing = True
        try:
            for _ in range(_FLUSHES_MAX):  # hooks may add objects, and publish
                session.flush()
                if not (session.new or session.dirty or session.deleted):
                    break
        finally:
            self._writing = False
        self._write_now(session)

    def _write_now(self, session: Session) -> None:
        entries, self._entries = self._entries, []
        if entries:
            connection = session.connection(bind_arguments={"clause": _an_insert()})
            run_sync(self._settle(guest(connection), [each.message for each in entries]))


def _an_insert() -> Insert:
    """What tells a session that routes by statement, reads here and writes there, where the rows go."""
    from sqlalchemy import insert, table

    return insert(table("event_outbox"))


def _around(savepoint: SessionTransaction) -> SessionTransaction:
    """The next savepoint or transaction outwards: a flush's own is neither."""
    found = savepoint.parent
    while found is not None and found.parent is not None and not found.nested:
        found = found.parent
    return found or savepoint


def _is_committing(session: Session) -> bool:
    """Whether the session's outermost transaction is being committed or prepared right now.

    SQLAlchemy's own note of it; a savepoint that is released notes it on itself.
    """
    running = getattr(session.get_transaction(), "_current_fn", None)
    return getattr(running, "__name__", "") in {"_prepare_impl", "prepare", "commit"}


def _is_flushing(session: Session) -> bool:
    return bool(getattr(session, "_flushing", False))
