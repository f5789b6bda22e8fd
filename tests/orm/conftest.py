"""The databases that every tool is tried on."""

from __future__ import annotations

import pytest

DATABASES = ["sqlite", "postgresql"]


@pytest.fixture(params=DATABASES)
def url(request, tmp_path):
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shop.db'}"
    return request.getfixturevalue("postgres_url")
