"""Literals: the text of a value means that value to a server, whatever its settings."""

from __future__ import annotations

import pytest

from eventseam.storage.postgres_simple import execute, literal
from tests.support.postgres import connect

VALUES = ["", "it's", "back\\slash", "\\'", "'; DROP TABLE t; --", "$1 %s :x", "\n\t", "ß\U0001f600", "E'x'", "\\u0000"]


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_a_text_is_read_as_it_was_written(postgres_url, conforming):
    with connect(postgres_url) as connection:
        connection.execute(f"SET standard_conforming_strings = {conforming}")
        assert VALUES == connection.execute(f"SELECT {literal(VALUES)}".encode()).fetchone()[0]


def test_numbers_truths_nothing_and_arrays_have_literals(postgres_url):
    with connect(postgres_url) as connection:
        connection.execute("PREPARE p (bigint, bool, text, text[]) AS SELECT $1, $2, $3, $4")
        row = (-(2**63), True, None, ["a", None])
        assert row == connection.execute(execute("p", row).encode()).fetchone()


def test_a_text_with_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        literal(["a", "b\0"])


@pytest.mark.parametrize("value", [1.5, b"x", [], {}, object()])
def test_what_has_no_literal_is_refused(value):
    with pytest.raises(TypeError, match="no literal for"):
        literal(value)
