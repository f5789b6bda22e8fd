"""What `db check` looks at: the schema, the role's rights, the server's settings, and who holds what for too long.

A problem has a fix in its line; a note is good to know. A gauge names whoever holds something: process, application,
for how long. Nothing is changed, and no lock is taken.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from eventseam.cli.store import applied
from eventseam.storage.catalog import Migration, migrations
from eventseam.storage.postgres_home import grant, home_of, obstacle, quoted
from eventseam.storage.shape import drift

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eventseam.ports.sql import Operation, Sql

TRANSACTION_SECONDS: Final = 60.0
LOCK_SECONDS: Final = 5.0
CONNECTIONS_MIN: Final = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    level: Literal["problem", "note"]
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Gauge:
    """Somebody who holds something for too long. A prepared transaction has no process: its id is the `application`."""

    kind: Literal["old transaction", "replication slot", "prepared transaction", "lock on positions"]
    pid: int | None
    application: str
    age_seconds: float | None
    detail: str


@dataclass(slots=True)
class Checkup:
    """All that was found."""

    applied: list[int] = field(default_factory=list[int])
    missing: list[int] = field(default_factory=list[int])
    newer: list[int] = field(default_factory=list[int])
    findings: list[Finding] = field(default_factory=list[Finding])
    gauges: list[Gauge] = field(default_factory=list[Gauge])

    @property
    def is_clean(self) -> bool:
        """Whether nothing has to be done."""
        return not self.gauges and all(each.level == "note" for each in self.findings)

    def document(self) -> dict[str, object]:
        """With the keys that scripts rely on."""
        return {
            "migrations": {"applied": self.applied, "missing": self.missing, "newer": self.newer},
            "findings": [asdict(each) for each in self.findings],
            "gauges": [asdict(each) for each in self.gauges],
        }

    def problem(self, what: str, fix: str) -> None:
        """Add a problem."""
        self.findings.append(Finding("problem", what, fix))

    def note(self, what: str, fix: str) -> None:
        """Add a note."""
        self.findings.append(Finding("note", what, fix))


def examination(dialect: str, older_seconds: float | None) -> Operation[Checkup]:
    """The operation that looks. `older_seconds` replaces the bounds on how long something may be held."""

    async def examine(sql: Sql) -> Checkup:
        found = Checkup()
        if dialect == "sqlite":
            await _schema(sql, dialect, found)
            return found
        is_readable = await _place(sql, found)
        unread = await _rights(sql, found)
        if is_readable and "eventseam_migrations" not in unread:
            await _schema(sql, dialect, found)
        if found.applied and "eventseam_journal" not in unread:
            await _cluster(sql, found)
        await _settings(sql, found)
        await _gauges(sql, found, older_seconds)
        return found

    return examine


def lacking(dialect: str, has: frozenset[int]) -> list[Migration]:
    """The migrations that a database has not got."""
    return [migration for migration in migrations(dialect) if migration.number not in has]


async def _schema(sql: Sql, dialect: str, found: Checkup) -> None:
    has = await applied(sql)
    known = {migration.number for migration in migrations(dialect)}
    found.applied, found.newer = sorted(has), sorted(has - known)
    found.missing = [each.number for each in lacking(dialect, has)]
    if not has:
        if not any("db migrate" in each.fix for each in found.findings):
            found.problem("there are no Eventseam tables", "eventseam db migrate")
        return
    if found.missing:
        found.problem(f"the migrations {_told(found.missing)} are missing", "eventseam db migrate")
    if found.newer:
        found.problem(
            f"the migrations {_told(found.newer)} come from a newer version",
            "use the version that made them; an older one that runs already may go on",
        )
    if found.missing or found.newer:
        return
    missing, foreign = await drift(sql, dialect)
    for line in missing:
        found.problem(f"drifted: {line} is gone, or has changed", "make it again as `eventseam db sql --all` prints it")
    for line in foreign:
        found.note(f"drifted: {line} is not ours", "it may stay if an INSERT without it works")


async def _cluster(sql: Sql, found: Checkup) -> None:
    if (rows := (await sql.rows("journal_rows"))[0][0]) != 1:
        found.problem(
            f"eventseam_journal has {rows} rows, and every app needs the one that names its cluster and its era",
            "restore the row from a backup; keep the one with the highest era if there are several",
        )
    for journal, connected in await sql.rows("other_cluster"):
        found.problem(
            f"the journal was written in the cluster {journal}, and this is {connected}: it was restored or moved",
            "stop every app, then: eventseam journal rebase",
        )


async def _place(sql: Sql, found: Checkup) -> bool:
    """Whether our tables are where they should be, or can be made there."""
    role = (await sql.rows("role"))[0][0]
    for (schema,) in await sql.rows("schemas_without", "USAGE"):
        fix = grant(f"USAGE ON SCHEMA {quoted(schema)}", role)
        found.problem(f"this role may not use the schema {schema}, which the search path names", fix)
    home = await home_of(sql)
    if (wrong := await obstacle(sql, home)) is not None:
        found.problem(wrong.what, wrong.fix)
        return False
    without = {row[0] for row in await sql.rows("schemas_without", "CREATE")}
    if home is not None and home in without and not (await sql.rows("has_migrations"))[0][0]:
        fix = grant(f"CREATE ON SCHEMA {quoted(home)}", role)
        found.problem(
            f"there are no Eventseam tables, and this role may make none in the schema {home}",
            f"{fix}, then eventseam db migrate; or let another role run what eventseam db sql prints",
        )
    return True


async def _rights(sql: Sql, found: Checkup) -> set[str]:
    """Name what the role may not do; the tables and sequences of which that is so."""
    role = (await sql.rows("role"))[0][0]
    lacking_of = await sql.rows("privileges_missing")
    for rights, name, what in lacking_of:
        found.problem(f"this role has no {rights} on {name}", grant(f"{rights} ON {what}", role))
    if not (await sql.rows("sees_others"))[0][0]:
        found.note(
            "this role cannot see since when other roles' transactions run",
            f"{grant('pg_read_all_stats', role)}, or check as another role",
        )
    return {name for rights, name, _ in lacking_of if "SELECT" in rights}


async def _settings(sql: Sql, found: Checkup) -> None:
    for name, setting in await sql.rows("server_settings"):
        rule = _RULES.get(name)
        if rule is not None and rule[0](setting):
            (found.note if name in _NOTES else found.problem)(f"{name} is {setting}: {rule[1]}", rule[2])


def _is_off(setting: str) -> bool:
    return setting == "off"


def _is_on(setting: str) -> bool:
    return setting == "on"


def _is_set(setting: str) -> bool:
    return setting != "0"


_RULES: Final[Mapping[str, tuple[Callable[[str], bool], str, str]]] = MappingProxyType(
    {
        "fsync": (_is_off, "a crash of the machine loses committed messages, or the database", "fsync = on"),
        "full_page_writes": (_is_off, "a crash of the machine may tear pages", "full_page_writes = on"),
        "zero_damaged_pages": (
            _is_on,
            "damaged rows vanish",
            "zero_damaged_pages = off",
        ),
        "autovacuum": (_is_off, "the tables of the journal and of positions grow without end", "autovacuum = on"),
        "idle_session_timeout": (
            _is_set,
            "connections that wait for work are ended, and cursors loaded again",
            "idle_session_timeout = 0 for the role of the app",
        ),
        "transaction_timeout": (_is_set, "a migration may be ended by it", "transaction_timeout = 0 for that role"),
        "max_connections": (
            lambda setting: int(setting) < CONNECTIONS_MIN,
            "a process of the app may open up to 42 connections",
            f"max_connections = {CONNECTIONS_MIN} or more, or fewer processes",
        ),
        "default_transaction_read_only": (
            _is_on,
            "Eventseam writes all the same: its transactions say READ WRITE",
            "revoke rights from the role of the app if nothing may be written",
        ),
        "track_activities": (_is_off, "nobody can tell who holds what", "track_activities = on"),
    }
)
_NOTES: Final = frozenset(
    {
        *("idle_session_timeout", "transaction_timeout", "max_connections", "track_activities"),
        "default_transaction_read_only",
    }
)


async def _gauges(sql: Sql, found: Checkup, older_seconds: float | None) -> None:
    transaction = TRANSACTION_SECONDS if older_seconds is None else older_seconds
    lock = LOCK_SECONDS if older_seconds is None else older_seconds
    for pid, application, age, detail in await sql.rows("old_transactions", transaction):
        found.gauges.append(Gauge("old transaction", pid, application, age, detail))
    for name, detail in await sql.rows("held_slots"):
        found.gauges.append(Gauge("replication slot", None, name, None, detail))
    for gid, owner, age, detail in await sql.rows("forgotten_prepared", transaction):
        found.gauges.append(Gauge("prepared transaction", None, gid, age, f"of {owner}: {detail}"))
    for pid, application, age, detail in await sql.rows("held_positions", lock):
        found.gauges.append(Gauge("lock on positions", pid, application, age, detail))


def _told(numbers: list[int]) -> str:
    return ", ".join(f"{number:04d}" for number in numbers)
