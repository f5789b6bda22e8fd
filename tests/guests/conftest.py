"""A prepared database for each test."""

from __future__ import annotations

import shutil

import pytest

from eventseam import Seams
from tests.guests.shop import prepare


@pytest.fixture(scope="session")
def postgres_template(postgres_server):
    """A database with the journal and the shop's table, to copy."""
    name = "guests_" + Seams().ids.new().replace("-", "")
    prepare(postgres_server.database(name))
    yield name
    postgres_server.drop(name)


@pytest.fixture
def journal_url(postgres_server, postgres_template):
    """The URL of a PostgreSQL database with the journal."""
    name = "test_" + Seams().ids.new().replace("-", "")
    yield postgres_server.database(name, postgres_template)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    path = tmp_path_factory.mktemp("guests") / "template.db"
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture
def journal_file(sqlite_template, tmp_path):
    """The URL of a SQLite file with the journal."""
    path = tmp_path / "shop.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def url(request, kind):
    """The database that `kind` talks to."""
    return request.getfixturevalue("journal_file" if kind.dialect == "sqlite" else "journal_url")
