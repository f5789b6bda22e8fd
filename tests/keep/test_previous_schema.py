"""A process of the previous migration keeps running while another one brings the database up to date beside it."""

from __future__ import annotations

import re

import pytest

from eventseam.app.stores import open_store
from eventseam.clock import Seams
from eventseam.storage import (
    catalog,
    postgres_binding,
    postgres_psycopg,
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
            UPDATE positions SET done = f.done, beyond = f.beyond, rev = positions.rev + 1,
              moved_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            FROM (SELECT json_extract(value, '$[0]') AS reader, json_extract(value, '$[1]') AS slot,
              json_extract(value, '$[2]') AS rev, json_extract(value, '$[3]') AS beyond,
              json_extract(value, '$[4]') AS done
              FROM json_each(?1) WHERE ?2 IS NOT NULL) f
            WHERE positions.reader = f.reader AND positions.slot = f.slot AND positions.rev = f.rev""",
    },
    "postgresql": {
        "fence": """
            WITH fences AS MATERIALIZED (
              SELECT f->>0 AS reader, (f->>1)::smallint AS slot, (f->>2)::bigint AS rev, f->3 AS beyond,
                (f->>4)::smallint AS era, (f->>5)::pg_snapshot AS s0, (f->>6)::pg_snapshot AS s1,
                (f->>7)::bigint AS done, (f->>8)::bigint AS hi, f->>9 AS life
              FROM jsonb_array_elements($1::text::jsonb) f
            ), gate AS MATERIALIZED (
              SELECT CASE WHEN $2::boolean THEN pg_advisory_xact_lock(key) END
              FROM (SELECT DISTINCT ('x' || left(md5('eventseam ' || reader), 16))::bit(64)::bigint AS key
                FROM fences ORDER BY 1) k
            )
            UPDATE positions p SET era = f.era, s0 = f.s0, s1 = f.s1, done = f.done, hi = f.hi, beyond = f.beyond,
              rev = p.rev + 1, moved_at = clock_timestamp()
            FROM fences f
            WHERE p.reader = f.reader AND p.slot = f.slot AND p.rev = f.rev AND (SELECT count(*) FROM gate) > 0
              AND f.life = (SELECT pg_postmaster_start_time()::text || ' ' ||
                pg_stat_get_bgwriter_stat_reset_time()::text)""",
    },
}
"""The statements of the previous version that the newest migration has changed. With the next one: its own."""
_NO_HEADERS = re.compile(r"cast\(headers AS TEXT\)|\b(o\.)?headers\b(?! *,? *0::)")
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
    now = getattr(module, name)()
    without_headers = {each: _NO_HEADERS.sub("NULL", now[each]) for each in ("tail", "poll", "page") if each in now}
    statements = {**now, **without_headers, **BEFORE[dialect]}
    monkeypatch.setattr(module, name, lambda: statements)
    if dialect == "postgresql":  # the side of threads has its own
        encoded = {each: text.encode() for each, text in statements.items()}
        monkeypatch.setattr(postgres_psycopg, "_named", lambda: encoded)


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
