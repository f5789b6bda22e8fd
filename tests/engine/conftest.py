"""Every test of the engine runs on SQLite and on PostgreSQL: its `tmp_path / "db"` is a file, or a database's URL."""

from __future__ import annotations

import pytest

from tests.support.place import Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def tmp_path(request, tmp_path):
    """Where databases are made by naming them."""
    if request.param == "sqlite":
        yield tmp_path
        return
    databases = Databases(request.getfixturevalue("postgres_server"))
    yield databases
    databases.drop()
