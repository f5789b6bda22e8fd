"""A password is never printed, however misspelt the URL is that holds it, and whichever command meets it."""

from __future__ import annotations

import pytest

from eventseam.app.settings import redact
from eventseam.cli.exits import Exit

MISSPELT = [
    "app:SeCrEt@host/db",
    "app:SeCrEt",
    "SeCrEt@host/db",
    "postgresql//app:SeCrEt@host/db",
    "postgresql:SeCrEt",
    "postgresql:/app:SeCrEt@host/db",
    "postgresql:app:SeCrEt@host/db",
    "postgresql:///app:SeCrEt@127.0.0.1:1/db",
    "postgresql:////app:SeCrEt@127.0.0.1:1/db",
    "postgresql://app:SeCrEt",
    "postgresql://app:SeCrEt/db",
    "postgresql://app:SeCrEt%ZZ@127.0.0.1:1/db",
    "postgresql://app:SeCrEt%00@127.0.0.1:1/db",
    "postgresql://app:SeCrEt wrong@127.0.0.1:1/db",
    "postgresql://app:Se SeCrEt@127.0.0.1:1/db",
    "postgresql://app:x@SeCrEt@127.0.0.1:1/db",
    "postgresql://app:x@y@SeCrEt@127.0.0.1:1/db",
    "postgresql://app:x/SeCrEt@127.0.0.1:1/db",
    "postgresql://app:12/SeCrEt@127.0.0.1:1/db",
    "postgresql://app:12?SeCrEt@127.0.0.1:1/db",
    "postgresql://app:12?SeCrEt=x@127.0.0.1:1/db",
    "postgresql://app:12#SeCrEt@127.0.0.1:1/db",
    "postgresql://app:1/2?SeCrEt=x@127.0.0.1:1/db",
    "postgresql://app:[SeCrEt@127.0.0.1:1/db",
    "postgresql://app:\N{ACCOUNT OF}SeCrEt@127.0.0.1:1/db",
    "postgresql://app%3ASeCrEt@127.0.0.1:1/db",
    "postgresql://127.0.0.1:1/app:SeCrEt",
    "postgresql://127.0.0.1:1/db#SeCrEt",
    "postgresql://app@127.0.0.1:1/db?password=SeCrEt&nonsense=1",
    "postgresql+psycopg://app:SeCrEt@127.0.0.1:1/db",
    "POSTGRESQL://app:SeCrEt@127.0.0.1:1/db",
    "postgres//:app:SeCrEt@127.0.0.1:1/db",
    "host=127.0.0.1 port=1 user=app password=SeCrEt",
    "postgresql: host=127.0.0.1 password=SeCrEt",
    "mysql://app:SeCrEt@127.0.0.1:1/db",
    "sqlite://app:SeCrEt@127.0.0.1:1/db",
    "sqlite:app:SeCrEt@127.0.0.1:1/db",
    "://app:SeCrEt@127.0.0.1:1/db",
    " postgresql://app:SeCrEt@127.0.0.1:1/db",
]

MODULE = """
from eventseam import App, Service
from tests.support.talk import Said

def create():
    service = Service("ears")
    service.on(Said)(hear)
    return App(service)

def hear(event): ...
"""

misspelt = pytest.mark.parametrize("url", MISSPELT)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an app in it, in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "quiet_shop.py").write_text(MODULE)
    return tmp_path


def keeps_it(ended, *codes):
    assert ended.code in codes, ended.err
    assert "secret" not in (ended.out + ended.err).lower()


@misspelt
def test_redact_masks_it(url):
    assert "secret" not in redact(url).lower()


@misspelt
def test_the_demo_keeps_it(cli, folder, url):
    keeps_it(cli("demo", "--only", "events", "--orders", 1, "--debug", "--database", url), Exit.WIRING, Exit.STORAGE)


@misspelt
@pytest.mark.parametrize("command", ["lag", "outbox", "db check", "db migrate"])
def test_commands_that_look_keep_it(cli, url, command):
    keeps_it(cli(*command.split(), "--debug", "--database", url), Exit.WIRING, Exit.STORAGE)


@misspelt
@pytest.mark.parametrize("variable", ["EVENTSEAM_DATABASE", "EVENTSEAM_TRANSPORT"])
def test_run_and_describe_keep_it(cli, folder, monkeypatch, url, variable):
    monkeypatch.setenv(variable, url)
    keeps_it(cli("run", "quiet_shop:create", "--debug"), Exit.WIRING, Exit.STORAGE)
    keeps_it(cli("describe", "quiet_shop:create", "--debug"), Exit.OK, Exit.WIRING)


@misspelt
def test_a_url_in_the_place_of_another_word_is_kept(cli, url):
    if ":" in url and " " not in url and url != "app:SeCrEt":  # which may be MODULE:FACTORY
        keeps_it(cli("lag", url), Exit.USAGE, Exit.WIRING)
        keeps_it(cli("run", url), Exit.USAGE, Exit.WIRING)
        keeps_it(cli("outbox", "--limit", url), Exit.USAGE)


@pytest.mark.parametrize(
    "url, shown",
    [
        ("sqlite:///shop.db", "sqlite:///shop.db"),
        ("sqlite:////var/a@b/shop.db", "sqlite:////var/a@b/shop.db"),
        ("sqlite:///C:/shop.db", "sqlite:///C:/shop.db"),
        ("journal:", "journal:"),
        ("postgresql:///shop?host=/run/postgresql", "postgresql:///shop?***"),
        ("postgresql://app:SeCrEt@db:5433/shop", "postgresql://app:***@db:5433/shop"),
        ("postgresql://app@db/shop", "postgresql://app:***@db/shop"),
    ],
)
def test_a_url_that_is_written_well_is_shown_but_for_its_password(url, shown):
    assert shown == redact(url)
