"""The user's own database tools for the handlers of one service: SQLAlchemy and Django, loaded when first asked for.

What is costly to make (compiled statements, engines on our connections) is kept here and not per message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventseam.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from eventseam.app.django_block import DjangoBlocks
    from eventseam.app.recorded import Statements, Write
    from eventseam.app.recorded_objects import Objects
    from eventseam.app.session import OpenSession, Sessions
    from eventseam.ports.sql import Sql


class Tools:
    """For one service and one database, of dialect `sqlite` or `postgresql`. Usable from every thread."""

    def __init__(self, dialect: str = "sqlite") -> None:
        """Load nothing yet."""
        self.dialect = dialect
        self._statements: Statements | None = None
        self._objects: Objects | None = None
        self._sessions: Sessions | None = None
        self._django: DjangoBlocks | None = None

    def recorded(self, statement: object, rows: Sequence[object]) -> Iterable[Write]:
        """What `ctx.write` records for a statement of SQLAlchemy. Raises WiringError or MissingExtraError."""
        return (self._statements or self._loaded()).writes(statement, rows)

    def added(self, instance: object) -> Iterable[Write]:
        """What `ctx.add` records for an object. Raises WiringError or MissingExtraError."""
        if self._objects is None:
            statements = self._statements or self._loaded()
            from eventseam.app.recorded_objects import Objects

            self._objects = Objects(statements)
        return self._objects.writes(instance)

    def session(self, sql: Sql, *, is_async: bool) -> OpenSession:
        """A session of SQLAlchemy in an open transaction. Raises WiringError or MissingExtraError."""
        if self._sessions is None:
            check_sqlalchemy("tx.session")
            from eventseam.app.session import Sessions

            self._sessions = Sessions(self.dialect)
        return self._sessions.open_async(sql) if is_async else self._sessions.open(sql)

    def django(self, sql: Sql, alias: str) -> AbstractContextManager[None]:
        """Django's `alias` on an open transaction. Raises WiringError or MissingExtraError when it is entered."""
        if self._django is None:
            from eventseam.app.django_block import DjangoBlocks

            self._django = DjangoBlocks(self.dialect)
        return self._django.block(sql, alias)

    def _loaded(self) -> Statements:
        check_sqlalchemy("ctx.add() and ctx.write() with anything but text")
        from eventseam.app.recorded import Statements

        self._statements = Statements(self.dialect)
        return self._statements


def check_sqlalchemy(what: str) -> Any:  # noqa: ANN401 - the package, if it is there
    """Raise MissingExtraError if SQLAlchemy is not installed."""
    try:
        import sqlalchemy
    except ImportError as error:
        raise MissingExtraError(f"{what} needs SQLAlchemy: pip install 'eventseam[sqlalchemy]'") from error
    return sqlalchemy
