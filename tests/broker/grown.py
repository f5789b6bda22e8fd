"""An app on real Kafka that another process may load, and an administrator who gives its topics more partitions."""

from __future__ import annotations

from textwrap import dedent

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from eventseam import App, Settings
from eventseam.cli.main import main
from tests.support import file
from tests.support.place import tables_for
from tests.support.run import until
from tests.support.talk import Said, ears, hear

MODULE = """
    from eventseam import App, Settings
    from tests.broker.grown import listener

    def create():
        return App(listener(), settings=Settings(database={database!r}, transport={url!r}, durability="normal"))
"""


def listener(fails=()):
    """A service that hears what is said; of the keys that it `fails` it hears nothing."""
    service = ears()

    @service.on(Said, name="hear")
    async def on_said(said: Said, ctx) -> None:
        if said.who in fails:
            raise ValueError("not yet")
        hear(ctx, said)

    return service


class Place:
    """A database, topics of one test, and the module `grown_app` whose `create` makes their app."""

    def __init__(self, folder, url) -> None:
        self.database, self.url = f"sqlite:///{folder}/db", url
        self.file = folder / "db"
        self.address = url.removeprefix("kafka://").partition("?")[0].rstrip("/")
        self.admin = AdminClient({"bootstrap.servers": self.address})
        self.module = folder / "grown_app.py"
        self.write_module(self.database)

    def write_module(self, database) -> str:
        """The module that commands load, with this database."""
        self.module.write_text(dedent(MODULE).format(database=database, url=self.url))
        return database

    def app(self, fails=()) -> App:
        service = listener(fails)
        service.tables = tables_for(self._where, service.tables)
        return App(service, settings=Settings(database=self.database, transport=self.url, durability="normal"))

    @property
    def _where(self):
        return self.file if self.database.startswith("sqlite") else self.database

    async def run(self, *messages, fails=()) -> None:
        """Publish, and run until everything is handled but for the keys that fail, which are to be tried again."""
        app = self.app(fails)
        async with app.running():
            if messages:
                await app.publish(app.services[0], *messages)
            if fails:
                await until(lambda: len(self.query("SELECT 1 FROM unsettled")) == len(fails))
                await until(lambda: len(self.heard()) == len({each.who for each in messages}) - len(fails))
            else:
                await app.wait_idle(30)

    def query(self, statement, *args):
        return file.query(self._where, statement, *args)

    def heard(self):
        """The numbers that were heard of each key, in order."""
        found: dict[str, list[int]] = {}
        for who, n in self.query("SELECT who, n FROM heard ORDER BY id"):
            found.setdefault(who, []).append(n)
        return found

    def topic(self, name):
        return self.url.partition("prefix=")[2].partition("&")[0] + name

    def make(self, name, partitions) -> None:
        self.admin.create_topics([NewTopic(self.topic(name), partitions)])[self.topic(name)].result()

    def delete(self, name) -> None:
        self.admin.delete_topics([self.topic(name)])[self.topic(name)].result()

    def grow(self, name, partitions) -> None:
        topic = self.topic(name)
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()

    def trim(self, name, partition) -> None:
        """Drop every message of a partition, read or not."""
        place = TopicPartition(self.topic(name), partition, -1)
        self.admin.delete_records([place])[place].result()

    def put(self, name, partition, key, body) -> None:
        """Publish as another program does that knows CloudEvents."""
        producer = Producer({"bootstrap.servers": self.address})
        headers = [("content-type", "application/cloudevents+json")]
        producer.produce(self.topic(name), body, key, partition, headers=headers)
        assert 0 == producer.flush(10)


def command(*words) -> int:
    return main([str(word) for word in words])
