"""A real Kafka broker for tests and demos: Apache Kafka without ZooKeeper or Docker, gone when its starter is.

`with kafka() as broker:` starts one of our own; `kafka_for_tests()` also follows `EVENTSEAM_TEST_KAFKA`, the URL of a
broker that is there. Java and the jars: see `eventseam.testing.kafka_files`.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from eventseam.clock import Seams
from eventseam.errors import MissingExtraError, SettingsError, StorageUnavailable
from eventseam.testing.guarding import HOST, Guard, free_ports
from eventseam.testing.kafka_files import find

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from eventseam.testing.kafka_files import Programs

URL_VARIABLE = "EVENTSEAM_TEST_KAFKA"
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_ANSWER_SECONDS = 2.0
_POLL_SECONDS = 0.02
_LOG_TAIL = 2_000
_PORT_IS_TAKEN = "Address already in use"
_SETTINGS: Mapping[str, str | int] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",  # a test that names a wrong topic shall hear of it
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "group.initial.rebalance.delay.ms": 0,
    # After a kill the broker may come back once its old registration has expired: in 2 s instead of 9.
    "broker.session.timeout.ms": 1_000,
    "broker.heartbeat.interval.ms": 250,
}
_LOGGING = """rootLogger.level=INFO
rootLogger.appenderRef.0.ref=out
appender.0.type=Console
appender.0.name=out
appender.0.layout.type=PatternLayout
appender.0.layout.pattern=%d %p %m (%c{1})%n%throwable
"""


class KafkaServer:
    """A broker reached by a URL."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self.url = url

    def url_of(self, prefix: str) -> str:
        """The URL that puts `prefix` before the name of every topic."""
        return f"{self.url}{'&' if '?' in self.url else '?'}prefix={prefix}"


class StartedKafka(KafkaServer):
    """A broker of our own, which can be stopped, killed and started again on the same port with the same data."""

    def __init__(self, programs: Programs, settings: Mapping[str, str | int], folder: Path | None) -> None:
        """Make the data folder, unless it is there. Nothing runs yet."""
        super().__init__("")
        self.port = self._controller_port = 0
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="eventseam-kafka-"))).resolve()
        self._is_kept = folder is not None
        self._programs = programs
        self._settings = {**_SETTINGS, "log.dirs": str(self.folder / "data"), **settings}
        self._process: subprocess.Popen[bytes] | None = None
        remove = None if self._is_kept else self.folder
        self._guard = Guard(self.folder / "pid", (signal.SIGTERM, signal.SIGKILL), remove)
        try:
            self._cluster_id = self._make()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the running broker, for signals. Raises StorageUnavailable while it is stopped."""
        if self._process is None:
            raise StorageUnavailable("this Kafka broker is stopped: call start()")
        return self._process.pid

    def log(self) -> str:
        """All that the broker has logged."""
        file = self.folder / "log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def start(self) -> None:
        """Return when the broker answers and leads every partition that it has, on the port it had.

        After `kill` that takes 3 s. Raises StorageUnavailable with the end of the log.
        """
        if self._process is not None:
            return
        clock = Seams().clock
        deadline = clock.monotonic() + _START_SECONDS
        is_first = not self.port
        while True:
            if is_first:
                self.port, self._controller_port = free_ports(2)
            seen = len(self.log())
            self._launch()
            if self._is_ready_before(deadline):
                return
            said = self.log()[seen:]
            if _PORT_IS_TAKEN not in said or clock.monotonic() > deadline:
                raise StorageUnavailable(f"Kafka did not start. Its log in {self.folder} ends:\n{said[-_LOG_TAIL:]}")

    def stop(self) -> None:
        """Stop in good order, which takes half a second. Clients lose their connections."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9. What was acknowledged is there after the next start."""
        self._end(signal.SIGKILL)

    def restart(self, *, immediate: bool = True) -> None:
        """Kill (`immediate`) or stop, and start. Returns when the broker answers again."""
        self._end(signal.SIGKILL if immediate else signal.SIGTERM)
        self.start()

    def close(self) -> None:
        """Stop, and remove the folder unless it was given. Idempotent."""
        self._end(signal.SIGTERM if self._is_kept else signal.SIGKILL)
        self._guard.close()
        if not self._is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self) -> str:
        """The cluster id of the data folder, which is a copy of an empty one but for that id."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
        data = self.folder / "data"
        properties = data / "meta.properties"
        if not data.exists():
            shutil.copytree(self._programs.folder / "format", data)
            cluster = base64.urlsafe_b64encode(UUID(Seams().ids.new()).bytes).decode().rstrip("=")
            text = re.sub(r"cluster\.id=.*", f"cluster.id={cluster}", properties.read_text(encoding="utf-8"))
            properties.write_text(text, encoding="utf-8")
        return properties.read_text(encoding="utf-8").partition("cluster.id=")[2].split()[0]

    def _launch(self) -> None:
        self.url = f"kafka://{HOST}:{self.port}"
        settings = {
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "controller.quorum.bootstrap.servers": f"{HOST}:{self._controller_port}",
            **self._settings,
        }
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={_escaped(value)}\n" for name, value in settings.items()), "utf-8")
        options = ("-Xmx512m", "-Dlog4j2.configurationFile=log4j2.properties", "-Djava.io.tmpdir=tmp")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._programs.command("kafka.Kafka", *options), properties.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environment(),
                start_new_session=True,
            )
        (self.folder / "pid").write_text(f"{self._process.pid}\n", encoding="utf-8")
        self._guard.watch(self._process.pid)

    def _is_ready_before(self, deadline: float) -> bool:
        """Wait for the broker to be of use; False, and no process, if it ended or the time did."""
        clock = Seams().clock
        while self._process and not _is_of_use(self.port, self._cluster_id):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)
                self._process = None
                self._guard.watch(0)
            if clock.monotonic() > deadline:
                self._end(signal.SIGKILL)
        return self._process is not None

    def _end(self, number: signal.Signals) -> None:
        """Send the signal and wait for the end; a broker that does not end is killed after 60 s."""
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


def prepare() -> Programs:
    """What a broker is started from, fetched and made ready if it is not yet there (half a minute, once).

    Java's own archive of the classes, made by a broker that nobody uses, saves each later start half of its work. A
    Java that cannot make one leaves an empty file. Raises what `kafka` raises.
    """
    _driver()
    programs = find()
    if not programs.archive.exists():
        with programs.alone():
            if not programs.archive.exists():
                part = programs.archive.with_suffix(".part")
                _run_once(programs._replace(options=(f"-XX:ArchiveClassesAtExit={part}",)))
                part.touch()
                part.rename(programs.archive)
    is_made = programs.archive.stat().st_size
    return programs._replace(options=(f"-XX:SharedArchiveFile={programs.archive}",)) if is_made else programs


def _run_once(programs: Programs) -> None:
    broker = StartedKafka(programs, {}, None)
    try:
        broker.start()
        broker.stop()
    finally:
        broker.close()


@contextmanager
def kafka(*, settings: Mapping[str, str | int] | None = None, folder: Path | None = None) -> Generator[StartedKafka]:
    """Start a Kafka broker, and stop it at the end, also if this process is killed.

    `settings` go to server.properties (`{"message.max.bytes": 2_000_000}`); topics are made by whoever needs them
    unless you say `{"auto.create.topics.enable": "true"}`. `folder` keeps the data for the next time (default: a
    temporary one). Raises MissingExtraError without a Java, the jars or the client; StorageUnavailable if it fails.
    """
    broker = StartedKafka(prepare(), settings or {}, folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@contextmanager
def embedded_kafka() -> Generator[str]:
    """The URL of a broker started for it: what `kafka:embedded` means. Raises what `kafka` raises."""
    with kafka() as broker:
        yield broker.url


@contextmanager
def kafka_for_tests() -> Generator[KafkaServer]:
    """The broker that the environment asks for, or one of our own.

    Raises SettingsError for a variable that makes no sense, and what `kafka` raises.
    """
    wish = os.environ.get(URL_VARIABLE, "")
    if not wish:
        with kafka() as broker:
            yield broker
        return
    if urlsplit(wish).scheme not in ("kafka", "kafka+tls"):
        raise SettingsError(f"{URL_VARIABLE} must be kafka://HOST:PORT or kafka+tls://USER:PASSWORD@HOST:PORT")
    yield KafkaServer(wish)


def _is_of_use(port: int, cluster_id: str) -> bool:
    """Whether that broker, and no other one, answers on the port, and every partition it has has its leader."""
    with suppress(OSError), socket.create_connection((HOST, port), _ANSWER_SECONDS):
        client = _driver()
        admin = client.AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0})
        try:
            seen = admin.list_topics(timeout=_ANSWER_SECONDS)
        except client.KafkaException:
            return False
        partitions = [partition for topic in seen.topics.values() for partition in topic.partitions.values()]
        is_ours = seen.cluster_id == cluster_id and bool(seen.brokers)
        return is_ours and all(partition.leader >= 0 for partition in partitions)
    return False


def _driver() -> Any:  # noqa: ANN401 - a module
    """The module confluent_kafka.admin. Raises MissingExtraError."""
    try:
        from confluent_kafka import admin
    except ImportError as error:
        raise MissingExtraError("Kafka for tests needs its client: pip install 'eventseam[servers]'") from error
    return admin


def _environment() -> dict[str, str]:
    """Nothing of the starter's KAFKA_OPTS or JAVA_TOOL_OPTIONS reaches the broker; the language decides file names."""
    kept = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "TZ": "UTC"}


def _escaped(value: str | int) -> str:
    return str(value).replace("\\", "\\\\")
