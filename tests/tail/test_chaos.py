"""Some seconds of chaos in each run of the suite (`python -m tests.tail --minutes 10` for more), and who judges it."""

from __future__ import annotations

import pytest

from tests.support.postgres import query
from tests.tail.chaos import ROLES, Plan, run
from tests.tail.rig import Findings, compared, scene_at

pytestmark = pytest.mark.timeout(240)  # the readers of three rows a page may need a minute on a busy machine


@pytest.mark.slow
def test_each_row_is_read_once_in_order_whatever_is_killed():
    outcome = run(Plan(seconds=8, writers=6, restart_every_seconds=5, fsync=False))
    assert outcome.is_right, "\n".join(outcome.lines())
    assert {role.reader for role in ROLES} == set(outcome.findings)
    assert outcome.rows > 50
    assert outcome.restarts > 0
    assert outcome.killed.total() > 0
    assert outcome.stopped.total() > 0


async def test_the_judge_finds_what_is_lost_doubled_invented_and_inverted(postgres_url):
    async with scene_at(postgres_url) as scene:
        scene.append(scene.writer(), rows=4)
        ids = [row[0] for row in query(postgres_url, "SELECT message_id::text FROM event_outbox ORDER BY position")]
        for message, key, n in ((ids[0], "a", 1), (ids[2], "a", 3), (ids[1], "a", 2), (ids[1], "b", 2), ("?", "b", 5)):
            query(postgres_url, "INSERT INTO seen (reader, message_id, position, key, n) VALUES ('r', %s, 0, %s, %s)",
                  message, key, n)  # fmt: skip
        assert Findings([ids[3]], [ids[1]], ["?"], ["a"]) == compared(postgres_url, "r", ordered=True)
