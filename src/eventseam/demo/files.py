"""The files that a demo is asked to write, looked at before it begins: an error at its end would cost its results.

Refuses to write into what is not its own: a folder, a text, another program's database, or a shop that is not resumed.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from eventseam.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from pathlib import Path


def check_report(path: Path) -> None:
    """Raise SettingsError if the report could not be written at the end. Changes nothing."""
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--report {path}: its folder is not there. Make it first.")
    if path.is_dir():
        raise SettingsError(f"--report {path}: this is a folder. Name a file in it.")
    if error := _writing_fails(path):
        raise SettingsError(f"--report {path} cannot be written: {error}. Name another file.")


def check_database(path: Path, outside: Path, *, resume: bool) -> None:
    """Raise SettingsError where beginning, or resuming, is not what was meant; StorageError for an unusable file.

    Where all is well the file of the outside is made, empty if it is new.
    """
    if path.is_dir():
        raise StorageError(f"--database: {path} is a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise StorageError(f"--database: there is no folder {path.parent}. Make it first, or correct the path.")
    files = [each for each in (path, outside) if each.exists()]
    tables = {name for each in files for name in _tables(each)}
    if path in files:
        _check_owner(path)
    if resume and not files:
        raise SettingsError(f"--resume: there is no {path} to go on with. Leave --resume out, or correct the path.")
    if tables and not resume:
        raise SettingsError(f"{path} holds a shop already. Go on with it by --resume, or name another file.")
    for each in (path, outside):
        if error := _writing_fails(each):
            raise StorageError(f"--database: {each} cannot be written: {error}. Check the permissions of its folder.")
    outside.touch()  # from here on there is something to resume, however early a kill comes


def check_outside(path: Path, *, resume: bool) -> bool:
    """Whether there is an outside already. Raises SettingsError if it is another shop's, or no file for it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise SettingsError(f"--outside {path}: this is a folder, or its folder is not there. Name a file.")
    tables: set[str] = _tables(path) if path.exists() else set()
    if tables and "charges" not in tables:
        raise SettingsError(f"--outside {path} belongs to another program. Nothing was changed. Name another file.")
    if tables and not resume:
        raise SettingsError(
            f"{path} is the outside of a shop already. Go on with that by --resume, name another file with --outside, "
            "or remove it."
        )
    if error := _writing_fails(path):
        raise SettingsError(f"--outside {path} cannot be written: {error}. Name another file.")
    return path.exists()


def _check_owner(path: Path) -> None:
    """Raise StorageError for a database that the demo has not made."""
    tables = _tables(path)
    if tables and "eventseam_migrations" not in tables:
        raise StorageError(f"--database: {path} belongs to another program. Nothing was changed. Name another file.")
    if tables and "earned_sales" not in tables:
        raise StorageError(f"--database: {path} belongs to another app than the demo. Name another file.")


def _tables(path: Path) -> set[str]:
    """The tables of a file; none if it is empty, or cannot be read now. Raises StorageError for what is no database."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            return {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            return set()  # a kill may leave what only a writer can repair
        raise StorageError(f"--database: {path} is not a shop: {error}. Name another file.") from error


def _writing_fails(path: Path) -> str | None:
    """Why a file cannot be written, or None. A pipe or a device is not tried: that would be seen at its other end."""
    was_there = path.exists()
    if was_there and not path.is_file():
        return None
    try:
        path.open("ab").close()
        if not was_there:
            path.unlink()
    except OSError as error:
        return error.strerror
    return None
