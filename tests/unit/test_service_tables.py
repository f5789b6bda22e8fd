"""A service's tables: one SQL for every database, or one for each kind."""

from __future__ import annotations

import pytest

from eventseam import Service, WiringError


def test_one_text_is_for_every_kind_of_database():
    service = Service("shop", tables="CREATE TABLE t (n)")
    assert ["CREATE TABLE t (n)"] * 2 == [service.tables_on(dialect) for dialect in ("sqlite", "postgresql")]


def test_each_kind_of_database_gets_its_own_text():
    service = Service("shop", tables={"sqlite": "one", "postgresql": "other"})
    assert ["one", "other"] == [service.tables_on(dialect) for dialect in ("sqlite", "postgresql")]


def test_a_kind_of_database_that_is_not_named_is_refused_with_the_fix():
    with pytest.raises(WiringError, match=r"tables= has SQL for sqlite, but the database is postgresql\. Add 'post"):
        Service("shop", tables={"sqlite": "one"}).tables_on("postgresql")
