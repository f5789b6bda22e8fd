"""A setting that cannot be used is refused where it is read, with its names and its range."""

from __future__ import annotations

from dataclasses import fields

import pytest

from eventseam import Settings, SettingsError
from eventseam.app.settings import NUMBERS_MAX


def test_every_number_has_a_largest_value():
    numbers = {each.name for each in fields(Settings) if isinstance(getattr(Settings(), each.name), int | float)}
    assert set(NUMBERS_MAX) == numbers


@pytest.mark.parametrize("name", NUMBERS_MAX)
def test_the_largest_value_is_taken_and_a_larger_one_is_refused(name):
    windows = {"inbox_hours": NUMBERS_MAX["inbox_hours"], "journal_hours": NUMBERS_MAX["journal_hours"]}
    assert NUMBERS_MAX[name] == getattr(Settings(**{**windows, name: NUMBERS_MAX[name]}), name)
    with pytest.raises(SettingsError, match=f"{name}.*at most {NUMBERS_MAX[name]}"):
        Settings(**{name: NUMBERS_MAX[name] + 1})


@pytest.mark.parametrize("name", NUMBERS_MAX)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e300", "0", "-1", "9" * 30, "many", ""])
def test_a_variable_that_is_no_usable_number_is_refused_by_its_name(name, text):
    with pytest.raises(SettingsError, match=f"EVENTSEAM_{name.upper()}"):
        Settings.from_env({f"EVENTSEAM_{name.upper()}": text})


@pytest.mark.parametrize("value", [1.5, "8", None])
def test_a_count_that_is_not_whole_is_refused(value):
    with pytest.raises(SettingsError, match=r"workers .* whole number"):
        Settings(workers=value)
