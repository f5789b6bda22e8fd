"""A process of the previous migration keeps running while another one brings the database up to date beside it."""

from __future__ import annotations

import pytest

from eventseam.app.stores import open_store
from eventseam.clock import Seams
from eventseam.storage import (
    catalog,
    postgres_binding,
    postgres_schema,
    sqlite_binding,
    sqlite_schema,
)
from tests.support import file
from tests.support.run import make_app, quick_settings
from tests.support.talk import Said, ears, on_loop, tx_in_thread

BEFORE = {
    "sqlite": {
        "fence": """
            UPDATE positions SET done = f.done, beyond = f.beyond, rev = positions.rev + 1
            FROM (SELECT json_extract(value, '$[0]') AS reader, json_extract(value, '$[1]') AS slot,
              json_extract(value, '$[2]') AS rev, json_extract(value, '$[3]') AS beyond,
              json_extract(value, '$[4]') AS done
              FROM json_each(?1) WHERE ?2 IS NOT NULL) f
            WHERE positions.reader = f.reader AND positions.slot = f.slot AND positions.rev = f.rev""",
        "claim": """
            UPDATE positions SET owner = ?2, lease_until = ?4 + ?3, rev = rev + 1
            WHERE reader = ?1 AND slot IN (SELECT slot FROM positions WHERE reader = ?1
              AND (owner IS NULL OR lease_until <= ?4 OR lease_until > ?4 + 2 * ?3
              OR owner IN (SELECT value FROM json_each(?6))) ORDER BY slot LIMIT ?5)
            RETURNING slot, rev, beyond, NULL, done""",
    },
    "postgresql": {
        "claim": """
            WITH free AS MATERIALIZED (SELECT slot FROM positions WHERE reader = $1
              AND (owner IS NULL OR lease_until < clock_timestamp() OR owner = ANY ($6::text[]))
              ORDER BY slot LIMIT $5 FOR UPDATE SKIP LOCKED)
            UPDATE positions p SET owner = $2, lease_until = clock_timestamp() + $3::float8 * interval '1 second',
              rev = p.rev + 1 FROM free WHERE p.reader = $1 AND p.slot = free.slot AND $4::float8 IS NOT NULL
            RETURNING p.slot, p.rev, p.beyond::text, p.gap::text, p.era, p.s0::text, p.s1::text, p.done, p.hi""",
    },
}
"""The statements of the previous version that the newest migration has changed. With the next one: its own."""
SCHEMAS = {"sqlite": sqlite_schema, "postgresql": postgres_schema}

SPEAKERS = {
    "sqlite": (sqlite_binding, "_named_statements"),
    "postgresql": (postgres_binding, "named_statements"),
}


def dialect_of(place):
    return "postgresql" if isinstance(place, str) else "sqlite"


def speak_as_before(dialect, monkeypatch):
    """Let this process use the previous version's statements from here on."""
    module, name = SPEAKERS[dialect]
    statements = getattr(module, name)() | BEFORE[dialect]
    monkeypatch.setattr(module, name, lambda: statements)


@pytest.mark.parametrize("form", [on_loop, tx_in_thread])
async def test_messages_flow_on_while_the_schema_becomes_newer(place, monkeypatch, form):
    known = catalog.migrations(dialect_of(place))
    service = ears()
    form(service, lambda message: None)
    app = make_app(place, service)
    speak_as_before(dialect_of(place), monkeypatch)
    with monkeypatch.context() as older:
        older.setattr(SCHEMAS[dialect_of(place)], "migrations", lambda dialect: known[:-1])
        async with app.running():
            await app.publish(service, Said("a", 1))
            await app.wait_idle()
            older.undo()
            newer = open_store(quick_settings(place), Seams())
            await newer.migrate()
            await newer.close()
            numbers = [row[0] for row in file.query(place, "SELECT number FROM eventseam_migrations ORDER BY number")]
            assert [each.number for each in known] == numbers
            for n in range(2, 12):
                await app.publish(service, Said("a", n))
            await app.wait_idle()
    assert list(range(1, 12)) == file.heard(place)
