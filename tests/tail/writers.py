"""Writers of every kind, for the chaos: `python -m tests.tail.writers URL COUNT SEED`, until standard input ends.

Two messages of one key are numbered so that their order is promised: under the key's row lock, or one after the other's
commit. What fails (a lock, a serialization, a server that is gone) is rolled back and something else is tried.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import psycopg

from tests.support.postgres import connect
from tests.tail.rig import APPEND

KEYS = 64
SETTINGS = "SET lock_timeout = '500ms'; SET idle_in_transaction_session_timeout = '10s'"
SLOW = """
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload)
SELECT 'ledger', %s, 'told', jsonb_build_object('n', %s::bigint, 'slept', length(pg_sleep(%s)::text))
"""
WITH_ID = """
INSERT INTO event_outbox (id, aggregate_type, aggregate_id, event_type, payload)
VALUES (%s, 'ledger', %s, 'told', jsonb_build_object('n', %s::bigint))
"""
STAMP = "UPDATE event_outbox SET published_at = now() WHERE position > (SELECT max(position) - 20 FROM event_outbox)"
NEXT_ID = "SELECT nextval(pg_get_serial_sequence('event_outbox', 'id'))"
NEXT_NUMBER = "INSERT INTO numbers VALUES (%s, 1) ON CONFLICT (key) DO UPDATE SET n = numbers.n + 1 RETURNING n"
NUMBERS = "CREATE TABLE IF NOT EXISTS numbers (key text PRIMARY KEY, n bigint NOT NULL)"

Connection = psycopg.Connection[Any]


class Writer:
    """One program that writes, until it is told to stop."""

    def __init__(self, url: str, name: str, seed: int, stop: threading.Event) -> None:
        self.url = url
        self.name = name
        self._chance = random.Random(seed)
        self._stop = stop
        self._alone = 0
        self._prepared = 0

    def run(self) -> None:
        while not self._stop.is_set():
            with suppress(psycopg.Error), connect(self.url, self.name) as connection:
                connection.execute(SETTINGS)
                while not self._stop.is_set():
                    self._try_one(connection)
            self._stop.wait(0.05)

    def _try_one(self, connection: Connection) -> None:
        """Write something; a statement that is refused is undone. Raises psycopg.Error when the server is gone."""
        try:
            self._chance.choices([self._alone_and_slow, self._by_copy, self._stamp, self._transaction], [15, 3, 2, 80])[
                0
            ](connection)
        except psycopg.Error:
            if connection.closed:
                raise
            connection.execute("ROLLBACK")
        self._stop.wait(self._chance.uniform(0, 0.03))

    def _alone_and_slow(self, connection: Connection) -> None:
        """The guide's INSERT in autocommit, with an expression that takes its time."""
        self._alone += 1
        connection.execute(SLOW, (f"slow {self.name}", self._alone, self._chance.uniform(0, 0.1)))

    def _by_copy(self, connection: Connection) -> None:
        key = f"copy {self.name}"
        text = "COPY event_outbox (aggregate_type, aggregate_id, event_type, payload) FROM STDIN"
        with connection.cursor().copy(text) as copy:
            for _ in range(20):
                self._alone += 1
                copy.write_row(("ledger", key, "told", f'{{"n": {self._alone}}}'))

    def _stamp(self, connection: Connection) -> None:
        connection.execute(STAMP)

    def _transaction(self, connection: Connection) -> None:
        """Everything that a business transaction may do around its append."""
        hit = self._hit
        is_prepared = hit(0.05)
        key = f"prepared {self.name}" if is_prepared else f"key {self._chance.randrange(KEYS)}"
        taken = connection.execute(NEXT_ID).fetchone() if hit(0.3) else None
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ" if hit(0.2) else "BEGIN")
        if hit(0.1):
            connection.execute("SET LOCAL synchronous_commit = off")
        if hit(0.3):
            connection.execute("SELECT pg_current_xact_id()")
            time.sleep(self._chance.uniform(0, 0.02))
        if hit(0.3):
            connection.execute("SAVEPOINT undone")
            connection.execute(APPEND, (key, -1))
            connection.execute("ROLLBACK TO undone")
        self._append(connection, key, taken)
        time.sleep(self._chance.uniform(0, 0.02))
        if is_prepared:
            self._prepared += 1
            connection.execute(f"PREPARE TRANSACTION '{self.name} {self._prepared}'")
        else:
            connection.execute("ROLLBACK" if hit(0.05) else "COMMIT")

    def _append(self, connection: Connection, key: str, taken: Any) -> None:
        """A few rows, sometimes many, sometimes within a savepoint: the lock first, then the append."""
        is_inside = self._hit(0.3)
        if is_inside:
            connection.execute("SAVEPOINT kept")
        for each in range(self._chance.choice([1, 1, 1, 2, 3, 40])):
            (n,) = connection.execute(NEXT_NUMBER, (key,)).fetchone() or (0,)
            if taken and not each:
                connection.execute(WITH_ID, (*taken, key, n))
            else:
                connection.execute(APPEND, (key, n))
        if is_inside and self._hit(0.5):
            connection.execute("RELEASE kept")

    def _hit(self, share: float) -> bool:
        return self._chance.random() < share


def settle_prepared(url: str, seed: int, stop: threading.Event) -> None:
    """Commit or roll back what was prepared, about a second later."""
    chance = random.Random(seed)
    while not stop.wait(0.3):
        with suppress(psycopg.Error), connect(url) as connection:
            statement = "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'w%' AND prepared < now() - interval '1 s'"
            for (gid,) in connection.execute(statement).fetchall():
                connection.execute(f"{'COMMIT' if chance.random() < 0.7 else 'ROLLBACK'} PREPARED '{gid}'")


def main(arguments: list[str]) -> None:
    url, count, seed = arguments[0], int(arguments[1]), int(arguments[2])
    stop = threading.Event()
    writers = [Writer(url, f"w{seed}-{each}", seed * 1_000 + each, stop) for each in range(count)]
    threads = [threading.Thread(target=writer.run, daemon=True) for writer in writers]
    threads.append(threading.Thread(target=settle_prepared, args=(url, seed, stop), daemon=True))
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(10)


if __name__ == "__main__":
    main(sys.argv[1:])
