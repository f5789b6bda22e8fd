"""A database that cannot be used says so at start, in one sentence with the fix; trouble on the way is waited out."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from contextlib import closing

import pytest

from eventseam import App, Ctx, Seams, Settings, SettingsError, StorageError
from eventseam.ports.probe import StorageTrouble
from eventseam.storage.sqlite import SqliteStore
from tests.support.file import connect, heard, insert, query
from tests.support.run import make_app, running, seen, until
from tests.support.talk import Said, ears, hear


def _listening(tables=""):
    service = ears()
    service.tables += tables

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    return service


async def _start(path, **changes):
    async with make_app(path, _listening(), **changes).running():
        pass


async def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path):
    await _start(tmp_path / "db")
    query(tmp_path / "db", "INSERT INTO eventseam_migrations VALUES (9999, 'the_future', '2030-01-01')")
    before = query(tmp_path / "db", "SELECT * FROM positions")
    with pytest.raises(StorageError, match=r"migration 9999.*Install the version that made it"):
        await _start(tmp_path / "db")
    assert before == query(tmp_path / "db", "SELECT * FROM positions")


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "db").write_text("Dear diary, " * 500)
    with pytest.raises(StorageError, match=r"db: file is not a database.*no SQLite database"):
        await _start(tmp_path / "db")
    assert (tmp_path / "db").read_text().startswith("Dear diary")


async def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"nowhere/db: .*There is no folder .*nowhere: make it first"):
        await _start(tmp_path / "nowhere" / "db")


async def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    with pytest.raises(StorageError, match=tmp_path.name):
        await _start(tmp_path)


async def test_a_file_that_may_not_be_written_is_refused(tmp_path):
    await _start(tmp_path / "db")
    (tmp_path / "db").chmod(stat.S_IRUSR)
    if os.access(tmp_path / "db", os.W_OK):  # whoever may do everything is not held up by permissions
        await _start(tmp_path / "db")
        return
    with pytest.raises(StorageError, match="may not be written"):
        await _start(tmp_path / "db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://u:secret@h/d", "shop.db"])
async def test_a_url_that_cannot_be_used_is_refused_without_its_secret(url):
    app = App(_listening(), settings=Settings(database=url))
    with pytest.raises(SettingsError) as caught:
        async with app.running():
            pass
    assert "secret" not in str(caught.value)


async def test_tables_that_are_no_sql_are_refused_at_start(tmp_path):
    app = make_app(tmp_path / "db", _listening("CREATE TABLE oops (;"))
    with pytest.raises(Exception, match=r"syntax error"):
        async with app.running():
            pass
    await _start(tmp_path / "db")


async def test_an_app_that_could_not_start_can_start_later(tmp_path):
    (tmp_path / "db").write_text("Dear diary, " * 500)
    app = make_app(tmp_path / "db", _listening())
    with pytest.raises(StorageError):
        async with app.running():
            pass
    (tmp_path / "db").unlink()
    async with app.running():
        await app.publish(app.services[0], Said("ann", 1))
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")


async def test_a_program_that_holds_the_write_lock_for_long_is_waited_out_and_seen(tmp_path):
    path = tmp_path / "db"
    async with running(path, _listening()) as app:
        await app.publish(app.services[0], *[Said("ann", n) for n in range(3)])
        await app.wait_idle()
        insert(path, "ann", '{"who":"ann","n":3}')
        holder = connect(path)
        holder.execute("BEGIN IMMEDIATE")
        await until(lambda: seen(app).of(StorageTrouble))
        assert "write lock" in seen(app).of(StorageTrouble)[0].error
        holder.execute("ROLLBACK")
        holder.close()
        await app.wait_idle()
        await app.publish(app.services[0], Said("ann", 4))
        await app.wait_idle()
    assert [0, 1, 2, 3, 4] == heard(path)


async def test_an_app_starts_on_a_file_that_another_program_is_making_at_this_moment(tmp_path):
    """SQLite refuses the switch to WAL at once while another connection writes, however long it may wait."""
    store = SqliteStore(str(tmp_path / "db"), Seams())
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        migrating = asyncio.create_task(store.migrate())
        await asyncio.sleep(0.2)
        assert not migrating.done()
        other.execute("ROLLBACK")
        await migrating
    await store.close()


async def test_two_apps_start_at_once_on_a_file_that_does_not_exist_yet(tmp_path):
    apps = [make_app(tmp_path / "db", _listening()) for _ in range(4)]

    async def run(app):
        async with app.running():
            await app.publish(app.services[0], Said("ann", 1))
            await until(lambda: len(heard(tmp_path / "db")) == 4)

    await asyncio.gather(*[run(app) for app in apps])
    assert 4 == len(heard(tmp_path / "db"))
