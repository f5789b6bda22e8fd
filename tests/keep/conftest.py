"""Every test here runs on SQLite and on PostgreSQL: `place` is a file, or a database's URL."""

from __future__ import annotations

import pytest

from tests.support.place import Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """A database of this test alone."""
    if request.param == "sqlite":
        yield tmp_path / "db"
        return
    databases = Databases(request.getfixturevalue("postgres_server"))
    yield databases / "db"
    databases.drop()
