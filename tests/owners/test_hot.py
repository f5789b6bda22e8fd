"""Committers of one service that add to the same rows never deadlock, and would without their gate."""

from __future__ import annotations

import pytest

from eventseam.storage import catalog
from eventseam.storage.postgres_binding import named_statements
from eventseam.testing.servers import postgres
from tests.owners.hot import heat
from tests.teeth.plants import reworded

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("owners")]


@pytest.fixture(scope="module")
def server():
    """A server whose log is read."""
    with postgres(settings={"deadlock_timeout": "20ms"}) as started:
        yield started


@pytest.mark.parametrize("form", ["record", "tx in a thread"])
async def test_four_committers_on_fifty_hot_rows_deadlock_never(server, form):
    got = await heat(server, server.database(f"hot_{form}".replace(" ", "_")), 2.5, form)
    assert (0, got.expected) == (got.deadlocks, got.added)


async def test_without_the_gate_around_the_apply_they_do(server):
    honest = catalog.statements("postgresql")["fence"]
    assert "WHEN $2::boolean" in honest
    with reworded("fence", honest.replace("WHEN $2::boolean", "WHEN $2::boolean AND false")):
        named_statements.cache_clear()
        got = await heat(server, server.database("no_gate"), 3.0)
    named_statements.cache_clear()
    assert got.deadlocks
    assert got.expected == got.added
