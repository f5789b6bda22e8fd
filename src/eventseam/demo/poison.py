"""A foreign program that spoils the journal: `EVENTSEAM_DATABASE=URL python poison.py N`, by plain INSERTs.

It knows sqlite3, psycopg and the guide's four columns. Each message has a key of its own and a defect of its own kind;
all are of one type that a single handler takes. A second run on the same database only adds what is missing, so that a
resumed demo has N, not more.
"""

from __future__ import annotations

import os
import sqlite3
import sys

CHANNEL = "shipment"
TYPE = "shipment.created"
DEEP = 10_000

DEFECTS = (
    (TYPE, '{"order_id": "poison-{n}", "shipment_id": '),
    (TYPE, '{"order_id": "poison-{n}", "shipment_id": 7}'),
    (TYPE, '{"order_id": "poison-{n}"}'),
    (TYPE + ".v9", '{"order_id": "poison-{n}", "shipment_id": "from the future"}'),
    (TYPE, '{"order_id": "poison-{n}", "shipment_id": NaN}'),
    (TYPE, "[" * DEEP + "]" * DEEP),
)
"""Broken JSON, a wrong type, a missing field, an unknown version, NaN, and a nesting nobody should follow."""

INSERT = "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES (?, ?, ?, ?)"
INSERT_BYTES = "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, body) VALUES (%s, %s, %s, %s)"
THERE = "SELECT count(*) FROM event_outbox WHERE aggregate_id LIKE 'poison-%'"


def spoil(url: str, count: int) -> None:
    """Put malformed events number 0 to `count` - 1 into the journal at `url`, except those that are there."""
    if url.startswith("sqlite:"):
        _spoil_file(url.removeprefix("sqlite:///"), count)
    else:
        _spoil_server(url, count)


def _spoil_file(path: str, count: int) -> None:
    journal = sqlite3.connect(path, timeout=10)
    try:
        journal.execute("BEGIN IMMEDIATE")
        for n in range(journal.execute(THERE).fetchone()[0], count):
            journal.execute(INSERT, (CHANNEL, f"poison-{n}", *defect(n)))
        journal.commit()
    finally:
        journal.close()


def _spoil_server(url: str, count: int) -> None:
    """The column payload refuses what is no JSON; body takes any bytes."""
    import psycopg

    with psycopg.connect(url, connect_timeout=10) as journal:
        there = journal.execute(THERE).fetchone()
        for n in range(there[0] if there else 0, count):
            kind, body = defect(n)
            journal.execute(INSERT_BYTES, (CHANNEL, f"poison-{n}", kind, body.encode()))


def defect(number: int) -> tuple[str, str]:
    """The type and the body of a malformed event."""
    kind, payload = DEFECTS[number % len(DEFECTS)]
    return kind, payload.replace("{n}", str(number))


if __name__ == "__main__":
    spoil(os.environ["EVENTSEAM_DATABASE"], int(sys.argv[1]))
