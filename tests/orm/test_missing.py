"""What is said where SQLAlchemy or Django is not installed, and what is asked of a transaction."""

from __future__ import annotations

import sys

import pytest

from eventseam import MissingExtraError, WiringError
from eventseam.app.ctx import CLOSED_SQL
from eventseam.app.tools import Tools


@pytest.mark.parametrize(
    "use",
    [
        lambda tools: tools.added(object()),
        lambda tools: tools.recorded(5, ()),
        lambda tools: tools.session(CLOSED_SQL, is_async=False),
    ],
    ids=["add", "write", "session"],
)
def test_without_sqlalchemy_its_extra_is_named(monkeypatch, use):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtraError, match=r"eventseam\[sqlalchemy\]"):
        use(Tools())


def test_without_django_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "django.db", None)
    with pytest.raises(MissingExtraError, match=r"eventseam\[django\]"), Tools().django(CLOSED_SQL, "default"):
        pass


@pytest.mark.parametrize("is_async", [False, True])
def test_a_transaction_that_does_not_give_its_connection_is_refused(is_async):
    with pytest.raises(WiringError, match="driver's own connection"):
        Tools().session(CLOSED_SQL, is_async=is_async)


def test_text_needs_no_sqlalchemy():
    """Nothing of it is loaded by handlers that do not use it."""
    import subprocess

    code = "import sys, eventseam.app.handlers; print([name for name in sys.modules if name.startswith('sqlalchemy')])"
    assert "[]\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
