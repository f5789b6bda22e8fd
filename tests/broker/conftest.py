"""A place on a real broker for each test."""

from __future__ import annotations

import sys

import pytest

from tests.broker.grown import Place


@pytest.fixture
def place(kafka_url, tmp_path, monkeypatch):
    """A database and topics of three partitions, of one test; commands find the module `grown_app`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "grown_app", raising=False)
    yield Place(tmp_path, f"{kafka_url}&partitions=3")
    sys.modules.pop("grown_app", None)
