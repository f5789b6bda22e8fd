"""One PostgreSQL server of our own: its folder, its process, its password, and the guard that outlives us.

It listens on the loopback address only, with a random password. As root it runs as `postgres` or `nobody`. When this
process ends, however it does, the server ends and its temporary folder goes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from eventseam.clock import Seams
from eventseam.errors import StorageUnavailable
from eventseam.testing.guarding import HOST, Guard, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventseam.testing.binaries import Binaries

OWNER = "postgres"
_START_SECONDS = 60.0
_POLL_SECONDS = 0.01
_STOP_SECONDS = 30.0
_LOG_TAIL = 2_000
_CHEAP_PASSWORDS_SINCE = 16  # the version that can set scram_iterations
_READY_LINE = 8  # of postmaster.pid
_SETTINGS: Mapping[str, str | int] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": 200,
    "max_prepared_transactions": 16,
    "log_line_prefix": "%m [%p] ",
}


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class User(NamedTuple):
    """Whom the server runs as, if not as us."""

    uid: int
    gid: int


class Cluster:
    """A server's folder and process. `start` and `stop` may alternate as often as you like; `close` ends it all."""

    def __init__(self, binaries: Binaries, settings: Mapping[str, str | int], folder: Path | None) -> None:
        """Make the data folder (0.4 s) unless it is there. Raises StorageUnavailable if `initdb` fails."""
        self.is_kept = folder is not None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="eventseam-postgres-"))).resolve()
        self.data = self.folder / "data"
        self.log_file = self.folder / "log"
        self.port = 0
        self._settings = {**_SETTINGS, **settings}
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
        self._guard = Guard(self.data / "postmaster.pid", signals, None if self.is_kept else self.folder)
        try:
            self._own(self.folder, 0o700)
            self.binaries = self._reachable(binaries)
            self.password = self._make()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the running server. Raises StorageUnavailable if it was stopped."""
        if self._process is None:
            raise StorageUnavailable("this PostgreSQL server is stopped: call start()")
        return self._process.pid

    def start(self) -> None:
        """Return when the server accepts connections, on the port it had. Raises StorageUnavailable with its log."""
        if self._process is not None:
            return
        clock = Seams().clock
        deadline = clock.monotonic() + _START_SECONDS
        is_first = not self.port
        while True:
            self.port = free_ports(1)[0] if is_first else self.port
            seen = self.log_file.stat().st_size if self.log_file.exists() else 0
            self._launch()
            if self._is_ready_before(deadline):
                return
            said = self.log_file.read_text(encoding="utf-8", errors="replace")[seen:]
            if not _may_pass(said) or clock.monotonic() > deadline:
                raise StorageUnavailable(
                    f"PostgreSQL did not start. Its log in {self.folder} ends:\n{said[-_LOG_TAIL:]}"
                )

    def stop(self, number: signal.Signals) -> None:
        """Send the signal and wait for the end; a server that does not end is killed after 30 s."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._guard.watch(0)

    def close(self) -> None:
        """Stop, and remove the folder unless it was given. Idempotent."""
        self.stop(signal.SIGINT if self.is_kept else signal.SIGQUIT)
        self._guard.close()
        if not self.is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self) -> str:
        """The owner's password, with which the data folder was made."""
        secret = self.folder / "password"
        if (self.data / "PG_VERSION").exists():
            return secret.read_text(encoding="utf-8")
        secret.write_text(Seams().ids.new().replace("-", ""), encoding="utf-8")
        self._own(secret, 0o600)
        initdb: list[str | Path] = [
            self.binaries.folder / "initdb",
            "-D",
            self.data,
            "-U",
            OWNER,
            "-A",
            "scram-sha-256",
        ]
        initdb += ["--pwfile", secret, "-E", "UTF8", "--locale=C", "--no-instructions"]
        initdb += [] if self.is_kept else ["--no-sync"]
        if self.binaries.version >= _CHEAP_PASSWORDS_SINCE:
            initdb += ["-c", "scram_iterations=1"]  # a random password gains nothing from slow hashing: connects fast
        done = self._run(initdb, cwd=self.folder)
        if done.returncode:
            fix = ". It does not run as root: everybody must be able to walk to the folder (or TMPDIR)" * bool(
                self._user
            )
            raise StorageUnavailable(f"initdb failed in {self.folder}: {done.stderr.strip()}{fix}")
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("include = 'eventseam.conf'\n")
        return secret.read_text(encoding="utf-8")

    def _launch(self) -> None:
        lines = [f"{name} = '{_quoted(value)}'\n" for name, value in {**self._settings, "port": self.port}.items()]
        conf = self.data / "eventseam.conf"
        conf.write_text("".join(lines), encoding="utf-8")
        self._own(conf, 0o600)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [self.binaries.folder / "postgres", "-D", self.data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environment(),
                start_new_session=True,
                **self._identity(),
            )
        self._guard.watch(self._process.pid)

    def _is_ready_before(self, deadline: float) -> bool:
        """Wait for the server to say so; False, and no process, if it ended or the time did."""
        clock = Seams().clock
        while self._process and not self._is_ready():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)
                self._process = None
                self._guard.watch(0)
            if clock.monotonic() > deadline:
                self.stop(signal.SIGQUIT)
        return self._process is not None

    def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= _READY_LINE and lines[0] == str(self.pid) and lines[_READY_LINE - 1].strip() == "ready"

    def _reachable(self, binaries: Binaries) -> Binaries:
        """The binaries where the server's user may run them: a virtual environment below /root is not for others."""
        if self._user is None:
            return binaries
        with suppress(PermissionError):
            if self._run([binaries.folder / "initdb", "--version"], cwd=Path("/")).returncode == 0:
                return binaries
        copy = self.folder / "programs"
        if not copy.exists():
            for original in _installation(binaries):
                shutil.copytree(original, copy / original.relative_to(original.anchor), symlinks=True)
            for path in (copy, *copy.rglob("*")):
                os.chown(path, self._user.uid, self._user.gid, follow_symlinks=False)
        return binaries._replace(folder=copy / binaries.folder.relative_to(binaries.folder.anchor))

    def _run(self, command: list[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=cwd, env=_environment(), **self._identity()
        )

    def _own(self, path: Path, mode: int) -> None:
        path.mkdir(parents=True, exist_ok=True) if not path.exists() else None
        path.chmod(mode)
        if self._user:
            os.chown(path, self._user.uid, self._user.gid)

    def _identity(self) -> _Identity:
        if self._user is None:
            return {}
        return {"user": self._user.uid, "group": self._user.gid, "extra_groups": []}


def _installation(binaries: Binaries) -> list[Path]:
    """The folders to copy together: a wheel keeps the shared libraries of PACKAGE/INSTALL/bin in PACKAGE.libs."""
    install = binaries.folder.parent
    libraries = install.parent.with_name(install.parent.name + ".libs")
    return [install, libraries] if libraries.is_dir() else [install]


def _unprivileged() -> User | None:
    """None unless we are root, whom PostgreSQL refuses to run as. Raises StorageUnavailable without another user."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(entry.pw_uid, entry.pw_gid)
    raise StorageUnavailable("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`: add one")


def _environment() -> dict[str, str]:
    """Nothing of the starter's PGDATA, PGPORT or language reaches the server; TZ saves a search for the zone's name."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _quoted(value: str | int) -> str:
    return str(value).replace("'", "''")


def _may_pass(said: str) -> bool:
    """The port was taken meanwhile, or processes of a killed server are still ending."""
    return any(reason in said for reason in ("Address already in use", "still in use", "could not create any TCP/IP"))
