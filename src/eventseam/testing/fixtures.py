"""Fixtures over real servers: `pytest_plugins = ["eventseam.testing.fixtures"]` in the top conftest.py.

A run has one server of each kind, with pytest-xdist each worker has. Where none can be started the tests that ask for
it are skipped, with the reason; let your CI fail on skips.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from eventseam.clock import Seams
from eventseam.errors import MissingExtraError
from eventseam.testing.kafka import KafkaServer, kafka_for_tests
from eventseam.testing.servers import PostgresServer, server_for_tests

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def postgres_server() -> Generator[PostgresServer]:
    """The run's server, which all tests share: do not restart it (start your own with `postgres()` for that)."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(server_for_tests())
        except MissingExtraError as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Generator[str]:
    """The URL of a database of this test alone, empty, gone afterwards."""
    name = "test_" + Seams().ids.new().replace("-", "")
    url = postgres_server.database(name)
    yield url
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def kafka_server() -> Generator[KafkaServer]:
    """The run's broker, which all tests share: do not restart it (start your own with `kafka()` for that)."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(kafka_for_tests())
        except MissingExtraError as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture
def kafka_url(kafka_server: KafkaServer) -> str:
    """A URL whose topics are of this test alone: their names begin with a prefix that no other test has."""
    return kafka_server.url_of(f"test-{Seams().ids.new()}-")
