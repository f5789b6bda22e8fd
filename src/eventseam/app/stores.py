"""From a database URL to a store: the one place that knows which drivers there are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from eventseam.app.settings import BROKERS, Settings, redact
from eventseam.errors import MissingExtraError, SettingsError
from eventseam.journal.source import Hint, JournalSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventseam.clock import Seams
    from eventseam.ports.sql import Store
    from eventseam.ports.transport import Broker, LogSource
    from eventseam.ports.wire import Style

_PATH = re.compile(r"[\w./ -]+")
"""What is a file's name and cannot hold a password: no scheme, no `user:password@`."""


_IDLE_SECONDS_MAX = 5.0
_LATE_SECONDS = 1.0


def open_store(settings: Settings, seams: Seams, tx_seconds: float = 0.0) -> Store:
    """The store that the settings name; its file is opened with the first operation. Raises SettingsError.

    `tx_seconds` is how long a handler may keep its transaction.
    """
    url = settings.database_url
    if url.startswith("sqlite:"):
        from eventseam.storage.sqlite import SqliteOptions, SqliteStore, path_of

        return SqliteStore(path_of(url), seams, SqliteOptions(durability=settings.durability))
    if url.startswith(("postgresql:", "postgres:")):
        return open_database(url, settings, seams, tx_seconds)
    if _PATH.fullmatch(url):
        raise SettingsError(f"'{url}' is a path, not the URL of a database. Write sqlite:///{url}")
    scheme = redact(url).partition(":")[0] or "?"
    if scheme.startswith(("postgresql+", "postgres+")):
        raise SettingsError(f"no driver is named in the URL: write postgresql:// for {scheme}://")
    raise SettingsError(
        f"no driver for a {scheme!r} database. Write EVENTSEAM_DATABASE=sqlite:///shop.db, or postgresql://…"
    )


def open_source(store: Store, hint: Hint) -> LogSource:
    """The journal of a store as a source: by id where ids rise in commit order, else by snapshots."""
    if store.dialect == "sqlite":
        return JournalSource(store, hint)
    from eventseam.journal.snapshot import SnapshotSource

    return SnapshotSource(store, hint)


def open_broker(settings: Settings, seams: Seams, styles: Mapping[str, Style]) -> Broker:
    """The broker that the settings name, not connected yet. Raises SettingsError, or MissingExtraError."""
    broker: Broker = transport_of(settings).connect(settings.transport_url, seams.clock, styles)
    return broker


def transport_of(settings: Settings) -> Any:  # noqa: ANN401 - a module
    """The module of the broker that the settings name. Raises SettingsError, or MissingExtraError."""
    scheme = settings.transport_url.partition(":")[0].partition("+")[0]
    try:
        if scheme == "kafka":
            from eventseam.transports import kafka

            return kafka
    except ModuleNotFoundError as error:
        extra = f"pip install 'eventseam[{scheme}]'"
        raise MissingExtraError(f"{scheme} needs the package {error.name!r}. Install it with: {extra}") from error
    raise SettingsError(f"no transport for {scheme}://. Write one of: {', '.join(BROKERS)}")


def open_database(url: str, settings: Settings, seams: Seams, tx_seconds: float = 0.0) -> Store:
    """The store of a PostgreSQL URL. Raises MissingExtraError.

    A process that stands still must not hold locks for longer than it owns something, or its handlers may run.
    """
    try:
        from eventseam.storage.postgres import PostgresOptions, PostgresStore
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"PostgreSQL needs the package {error.name!r}. Install it with: pip install 'eventseam[postgresql]'"
        ) from error
    options = PostgresOptions(
        durability=settings.durability,
        idle_seconds_max=min(_IDLE_SECONDS_MAX, max(_LATE_SECONDS, settings.lease_seconds / 2)),
        handler_idle_seconds_max=max(_IDLE_SECONDS_MAX, tx_seconds) + _LATE_SECONDS,
    )
    return PostgresStore(url, seams, options)
