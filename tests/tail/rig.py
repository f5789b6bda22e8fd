"""A reader made of the engine's own parts: `claim` loads it, SnapshotSource reads, `fence` moves it with its effects.

It has no inbox: what is lost, doubled, invented or inverted shows in the table `seen`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

import msgspec
import psycopg

from eventseam import Seams
from eventseam.errors import CursorLost, Fenced
from eventseam.journal.snapshot import SnapshotSource
from eventseam.journal.source import Hint
from eventseam.ports.sql import Sql
from eventseam.ports.transport import Cursor, Page, Received
from eventseam.storage.postgres import PostgresOptions, PostgresStore
from tests.support.postgres import connect, query

CHANNEL = "ledger"
TABLES = """
CREATE TABLE IF NOT EXISTS seen (at bigserial PRIMARY KEY, reader text NOT NULL, message_id text NOT NULL,
  position bigint NOT NULL, key text NOT NULL, n bigint NOT NULL);
"""
SEEN = "INSERT INTO seen (reader, message_id, position, key, n) VALUES ($1, $2, $3, $4, $5)"
APPEND = """
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload)
VALUES ('ledger', %s, 'told', jsonb_build_object('n', %s::bigint))
"""
IDLE_MAX = 3


class Move(NamedTuple):
    """A slot's cursor, to be stored under the fence."""

    slot: int
    rev: int
    cursor: Cursor


class Reader:
    """One reader of the journal in `store`, which keeps what it saw there too."""

    source_type: ClassVar[type[SnapshotSource]] = SnapshotSource
    lease_seconds: ClassVar[float] = 60.0

    def __init__(self, store: PostgresStore, name: str = "reader", slots_max: int = 16, owner: str = "") -> None:
        self.store = store
        self.name = name
        self.owner = owner or name
        self.slots_max = slots_max
        self.source = self.source_type(store, Hint())
        self.at: dict[int, Cursor] = {}
        self.loads = 0
        self._rev: dict[int, int] = {}

    async def load(self) -> None:
        """Take slots over from whoever had them, and load their cursors."""
        await self.source.prepare()
        rows = await self.store.write(self._claim)
        self.at = {row[0]: tuple(row[4:]) for row in rows}
        self._rev = {row[0]: row[1] for row in rows}
        self.loads += 1

    async def step(self, limit: int = 50, *, most: int | None = None, slots: Sequence[int] = range(16)) -> list[int]:
        """Read once and apply what was found, of each page `most` messages; the positions."""
        pages = await self.source.fetch({each: self.at[each] for each in self.at if each in slots}, [CHANNEL], limit)
        await self.between()
        moves, messages = self._plan(pages, most)
        if messages:
            await self.store.write(lambda sql: self.put(sql, moves, messages))
        self._moved(moves, stored=bool(messages))
        return [message.position for message in messages]

    async def drain(self, limit: int = 50) -> list[int]:
        """Step until there is nothing more; cursors that are lost are loaded again."""
        found: list[int] = []
        idle = 0
        while idle < IDLE_MAX:
            try:
                positions = await self.step(limit)
            except (CursorLost, Fenced):
                await self.load()
                continue
            found += positions
            idle = 0 if positions else idle + 1
        return found

    async def stay(self) -> None:
        """Renew the leases, and take what nobody holds, up to our share."""

        async def renew(sql: Sql) -> Any:
            await sql.changed("renew", self.name, self.owner, self.lease_seconds, 0.0)
            return await sql.rows(
                "claim", self.name, self.owner, self.lease_seconds, 0.0, self.slots_max - len(self.at), []
            )

        for row in await self.store.write(renew):
            self.at[row[0]] = tuple(row[4:])
            self._rev[row[0]] = row[1]

    async def between(self) -> None:
        """What happens after reading and before the apply."""

    async def put(self, sql: Sql, moves: Sequence[Move], messages: Sequence[Received]) -> None:
        """Pass the fence and write what was seen. Raises Fenced."""
        await self.fence(sql, moves)
        await sql.many(SEEN, [_seen(self.name, message) for message in messages])

    async def fence(self, sql: Sql, moves: Sequence[Move]) -> None:
        life = (await sql.rows("life"))[0][0]
        fences = [(self.name, move.slot, move.rev, [], *move.cursor, life) for move in moves]
        if await sql.changed("fence", msgspec.json.encode(fences).decode(), False) != len(moves):
            raise Fenced(self.name)

    async def _claim(self, sql: Sql) -> Any:
        await sql.many("new_position", [(self.name, slot) for slot in range(16)])
        return await sql.rows("claim", self.name, self.owner, self.lease_seconds, 0.0, self.slots_max, [self.owner])

    def _plan(self, pages: Sequence[Page], most: int | None) -> tuple[list[Move], list[Received]]:
        moves: list[Move] = []
        messages: list[Received] = []
        for page in pages:
            applied = page.messages if most is None else page.messages[:most]
            is_all = len(applied) == len(page.messages)
            cursor = page.end if is_all else page.at(applied[-1].position) if applied else self.at[page.slot]
            moves.append(Move(page.slot, self._rev[page.slot], cursor))
            messages += applied
        return moves, messages

    def _moved(self, moves: Sequence[Move], *, stored: bool) -> None:
        for move in moves:
            self.at[move.slot] = move.cursor
            if stored:
                self._rev[move.slot] += 1


def _seen(name: str, message: Received) -> tuple[str, str, int, str, int]:
    envelope = message.envelope
    return name, envelope.id, message.position, envelope.key, msgspec.json.decode(message.body)["n"]


class Scene:
    """A journal on a real server, and foreign programs that write to it."""

    def __init__(self, url: str, store: PostgresStore, stack: ExitStack) -> None:
        self.url = url
        self.store = store
        self._stack = stack
        self._told = 0

    def writer(self, url: str | None = None) -> psycopg.Connection[Any]:
        """A connection of a program that is not ours, in autocommit: it says BEGIN itself."""
        return self._stack.enter_context(connect(url or self.url))

    def elsewhere(self) -> psycopg.Connection[Any]:
        """A connection to another database of the same server."""
        return self.writer(urlsplit(self.url)._replace(path="/postgres").geturl())

    def append(self, writer: psycopg.Connection[Any], key: str = "a", *, rows: int = 1) -> None:
        """Append numbered messages, one INSERT each."""
        for _ in range(rows):
            self._told += 1
            writer.execute(APPEND, (key, self._told))

    def other_store(self, **options: Any) -> PostgresStore:
        """A store of another process."""
        return PostgresStore(self.url, Seams(), PostgresOptions(**options))


@asynccontextmanager
async def scene_at(url: str) -> AsyncIterator[Scene]:
    """An empty journal in an empty database."""
    store = PostgresStore(url, Seams())
    with ExitStack() as stack:
        try:
            await store.migrate([TABLES])
            yield Scene(url, store, stack)
        finally:
            await store.close()


class Findings(NamedTuple):
    """How what a reader saw differs from the journal, as message ids; `inverted` are keys."""

    lost: list[str]
    doubled: list[str]
    invented: list[str]
    inverted: list[str]


def compared(url: str, reader: str, *, ordered: bool = False) -> Findings:
    """Compare what a reader saw with the journal; the numbers of each key must rise if `ordered`."""
    journal = {row[0] for row in query(url, "SELECT message_id::text FROM event_outbox")}
    seen = query(url, "SELECT message_id, key, n FROM seen WHERE reader = %s ORDER BY at", reader)
    counts = Counter(row[0] for row in seen)
    keys: defaultdict[str, list[int]] = defaultdict(list)
    for _, key, n in seen:
        keys[key].append(n)
    return Findings(
        sorted(journal - counts.keys()),
        sorted(each for each, count in counts.items() if count > 1),
        sorted(counts.keys() - journal),
        sorted(key for key, numbers in keys.items() if ordered and numbers != sorted(numbers)),
    )


def audit(url: str, reader: str = "reader") -> None:
    """Raise AssertionError, the kind of finding first, unless the reader saw each row of the journal once."""
    for kind, found in compared(url, reader)._asdict().items():
        assert not found, f"{kind}: {len(found)} of the journal"
