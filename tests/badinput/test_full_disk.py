"""A disk that becomes full: the engine says so, holds what it has, and goes on when there is space again."""

from __future__ import annotations

from tests.support.file import heard, query, unsettled
from tests.support.small_disk import MESSAGES
from tests.support.spawn import python


def test_a_full_disk_is_seen_loses_nothing_and_the_engine_goes_on_when_there_is_space(tmp_path):
    path = tmp_path / "db"
    with python("-m", "tests.support.small_disk", str(path)) as process:
        said, _ = process.communicate(timeout=50)
    assert 0 == process.returncode
    trouble, idle = said.splitlines()
    assert trouble.startswith("trouble ")
    assert "db: " in trouble
    assert idle.startswith("idle ")
    for key in range(4):
        assert list(range(key, MESSAGES, 4)) == heard(path, who=f"k{key}")
    assert [] == unsettled(path)
    assert [("ok",)] == query(path, "PRAGMA integrity_check")
    assert [(MESSAGES, MESSAGES)] == query(path, "SELECT count(*), count(DISTINCT n) FROM big WHERE n < 1000")
