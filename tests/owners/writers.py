"""Foreign programs that draw numbers: threads with a connection each, plain INSERTs, some of them rolled back.

A writer has keys of its own and draws the next number of a key only after the one before it is committed, so that the
order of every key is known. What was committed is what `count` says at the end. Or a client of Kafka does so, whose own
retries the broker absorbs: each message is there once.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psycopg

INSERT = """
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload)
VALUES ('numbers', %s, 'number.drawn', jsonb_build_object('key', %s::text, 'n', %s::int))
"""
PREFIX = "owners-"
QUIET = "eventseam.kafka"
FLUSH_SECONDS_MAX = 90.0
KEYS_EACH = 4
ROLLBACKS = 0.05


@dataclass
class Writers:
    """Writers that run until they are told to stop."""

    url: str
    count: int = 12
    per_second: float = 600.0
    drawn: dict[str, int] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds: float) -> dict[str, int]:
        """Write for some time; the last number of each key."""
        threads = [threading.Thread(target=self._write, args=(number,)) for number in range(self.count)]
        for thread in threads:
            thread.start()
        self._stopping.wait(seconds)
        self._stopping.set()
        for thread in threads:
            thread.join()
        return self.drawn

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        pause = self.count / self.per_second
        keys = [f"w{number}-{k}" for k in range(KEYS_EACH)]
        with psycopg.connect(self.url, autocommit=False) as connection:
            while not self._stopping.is_set():
                rows = [(key, self.drawn.get(key, 0) + 1) for key in chance.sample(keys, chance.randint(1, KEYS_EACH))]
                for key, n in rows:
                    connection.execute(INSERT, (key, key, n))
                if chance.random() < 0.3:
                    time.sleep(chance.random() * 0.02)  # a transaction that stays open while others commit
                if chance.random() < ROLLBACKS:
                    connection.rollback()
                    continue
                connection.commit()
                self.drawn.update(rows)
                time.sleep(pause * len(rows) * 2 * chance.random())


def produce(transport: str, seconds: float) -> dict[str, int]:
    """Draw numbers straight into the topic, for some time; the last number of each key, all of which are in."""
    from confluent_kafka import Producer

    per_second = min(2_400, max(600, 30_000 / seconds))  # what processes in bad weather can catch up with
    config = {"enable.idempotence": True, "message.timeout.ms": 0, "partitioner": "murmur2", "linger.ms": 2}
    producer = Producer({"bootstrap.servers": urlsplit(transport).netloc, **config}, logger=logging.getLogger(QUIET))
    chance, drawn, failures, ends = random.Random(7), {}, [], time.monotonic() + seconds
    keys = [f"p{number}" for number in range(48)]

    def report(error: object, _: object) -> None:
        failures.extend([] if error is None else [error])

    while time.monotonic() < ends:
        for key in chance.sample(keys, 6):
            drawn[key] = drawn.get(key, 0) + 1
            body = json.dumps({"key": key, "n": drawn[key]})
            producer.produce(f"{PREFIX}numbers", body, key, on_delivery=report)
        producer.poll(0)
        time.sleep(6 / per_second)
    assert not producer.flush(FLUSH_SECONDS_MAX), "the broker does not take what was produced"
    assert not failures, failures[0]
    return drawn
