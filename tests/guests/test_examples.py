"""The examples run on both databases, with the engine inside the web process and apart."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import httpx
import pytest

from examples.fastapi_shop import web
from tests.guests.shop import query
from tests.support.run import until
from tests.support.spawn import ROOT, python

GOOD = {"id": "o1", "sku": "mug", "pieces": 2}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path, monkeypatch):
    """The URL of an empty database, which the environment names too."""
    url = f"sqlite:///{tmp_path / 'shop.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    monkeypatch.setenv("EVENTSEAM_DATABASE", url)
    return url


async def visit(api):
    """Order once well and once badly; return when the stock has reacted."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://shop") as client:
        assert 201 == (await client.post("/orders", json=GOOD)).status_code
        assert 422 == (await client.post("/orders", json=GOOD | {"id": "o2", "pieces": 0})).status_code

        async def reserved():
            return (await client.get("/orders/o1")).json()["reserved"]

        await until(reserved)
        assert 404 == (await client.get("/orders/o2")).status_code


@pytest.fixture
def in_a_schema(postgres_url, monkeypatch):
    """The URL of a schema of its own, with the shorter scheme."""
    query(postgres_url, "CREATE SCHEMA sh")
    url = f"{postgres_url}?options=-csearch_path%3Dsh".replace("postgresql:", "postgres:", 1)
    monkeypatch.setenv("EVENTSEAM_DATABASE", url)
    return url


async def has_journal(url):
    try:
        return [] == await asyncio.to_thread(query, url, "SELECT 1 FROM event_outbox")
    except Exception:  # noqa: BLE001 - of either database's driver
        return False


async def test_fastapi_with_the_engine_inside(url):
    api = web.inside()
    async with api.router.lifespan_context(api):
        await visit(api)
    assert [("o1", "mug", 2)] == query(url, "SELECT * FROM reservations")
    assert [("o1",)] == query(url, "SELECT aggregate_id FROM event_outbox")


async def test_fastapi_publishes_in_the_schema_of_the_url(in_a_schema):
    api = web.inside()
    async with api.router.lifespan_context(api):
        await visit(api)
    assert [("o1",)] == query(in_a_schema, "SELECT aggregate_id FROM sh.event_outbox")


def test_django_publishes_in_the_schema_of_the_url(in_a_schema):
    visit_django("inside")
    assert 2 == query(in_a_schema, "SELECT count(*) FROM sh.event_outbox")[0][0]


async def test_fastapi_with_the_engine_apart(url):
    api = web.apart()
    with python("-m", "eventseam.cli", "run", "examples.fastapi_shop.shop:create"):
        await until(lambda: has_journal(url))
        async with api.router.lifespan_context(api):
            await visit(api)
    assert [("o1", "mug", 2)] == query(url, "SELECT * FROM reservations")


def visit_django(how):
    command = [sys.executable, "-W", "error", "-m", "tests.guests.django_visit", how]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stderr


def test_django_with_the_engine_inside(url):
    visit_django("inside")
    assert [("o1", "order.placed"), ("o1", "order.reserved")] == query(
        url, "SELECT aggregate_id, event_type FROM event_outbox ORDER BY created_at, event_type"
    )


async def test_django_with_the_engine_apart(url):
    await asyncio.to_thread(visit_django, "prepare")
    with python("-m", "examples.django_shop.manage", "run_engine"):
        await until(lambda: has_journal(url))
        await asyncio.to_thread(visit_django, "apart")
    assert 2 == query(url, "SELECT count(*) FROM event_outbox")[0][0]
