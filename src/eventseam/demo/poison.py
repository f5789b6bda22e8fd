"""A foreign program that spoils the journal: `python poison.py FILE N`. It knows sqlite3 and the guide's four columns.

Each message has a key of its own and a defect of its own kind; all are of one type that a single handler takes. A
second run on the same file only adds what is missing, so that a resumed demo has N, not more.
"""

from __future__ import annotations

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
THERE = "SELECT count(*) FROM event_outbox WHERE aggregate_id LIKE 'poison-%'"


def spoil(path: str, count: int) -> None:
    """Put malformed events number 0 to `count` - 1 into the journal at `path`, except those that are there."""
    journal = sqlite3.connect(path, timeout=10)
    try:
        journal.execute("BEGIN IMMEDIATE")
        for n in range(journal.execute(THERE).fetchone()[0], count):
            kind, payload = DEFECTS[n % len(DEFECTS)]
            journal.execute(INSERT, (CHANNEL, f"poison-{n}", kind, payload.replace("{n}", str(n))))
        journal.commit()
    finally:
        journal.close()


if __name__ == "__main__":
    spoil(sys.argv[1], int(sys.argv[2]))
