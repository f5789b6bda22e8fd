"""Every kind of connection that a user may publish on, each in its own library's words.

`begin`, `write`, `publish`, `savepoint`, `back`, `release`, `commit`, `rollback` are what the user does; `forget` ends
the connection in the middle, as an exception or a dropped reference does; `outside` publishes without a transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg
import psycopg
from django.db import connections, transaction
from django.utils.connection import ConnectionProxy
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tests.guests.shop import Order, OrderPlaced, orders, path_of
from tests.orm import django_shop  # noqa: F401 - Django's settings, one set for all tests

if TYPE_CHECKING:
    from collections.abc import Callable

INSERT = "INSERT INTO orders VALUES ('{}', 1)"


class Kind:
    """One connection of one library. `own` is what is passed to publish."""

    dialect: ClassVar[str] = "postgresql"
    own: Any
    points: list[Any]

    def __init__(self) -> None:
        self.points = []

    async def publish(self, order_id: str) -> str:
        return orders.publish(self.own, OrderPlaced(order_id))


class Plain(Kind):
    """Kinds that take SQL as text."""

    async def run(self, statement: str) -> None:
        self.own.execute(statement)

    async def begin(self) -> None:
        await self.run("BEGIN")

    async def write(self, order_id: str) -> None:
        await self.run(INSERT.format(order_id))

    async def savepoint(self) -> None:
        await self.run("SAVEPOINT a")

    async def back(self) -> None:
        await self.run("ROLLBACK TO SAVEPOINT a")

    async def release(self) -> None:
        await self.run("RELEASE SAVEPOINT a")

    async def commit(self) -> None:
        self.own.commit()

    async def rollback(self) -> None:
        self.own.rollback()

    async def close(self) -> None:
        self.own.close()

    async def forget(self) -> None:
        await self.close()


class Sqlite3(Plain):
    dialect = "sqlite"

    async def open(self, url: str) -> None:
        self.own = sqlite3.connect(path_of(url), isolation_level=None)

    async def begin(self) -> None:
        await self.run("BEGIN IMMEDIATE")

    async def outside(self) -> str:
        return await self.publish("lost")


class Psycopg(Plain):
    async def open(self, url: str) -> None:
        self.own = psycopg.connect(url)

    async def begin(self) -> None:
        """It begins by itself."""

    async def outside(self) -> str:
        self.own.autocommit = True
        return await self.publish("lost")


class PsycopgAsync(Plain):
    async def open(self, url: str) -> None:
        self.own = await psycopg.AsyncConnection.connect(url)

    async def run(self, statement: str) -> None:
        await self.own.execute(statement)

    async def begin(self) -> None:
        """It begins by itself."""

    async def publish(self, order_id: str) -> str:
        return await orders.publish_async(self.own, OrderPlaced(order_id))

    async def commit(self) -> None:
        await self.own.commit()

    async def rollback(self) -> None:
        await self.own.rollback()

    async def close(self) -> None:
        await self.own.close()

    async def outside(self) -> str:
        await self.own.set_autocommit(True)
        return await self.publish("lost")


class Asyncpg(Plain):
    async def open(self, url: str) -> None:
        self.own = await asyncpg.connect(url)

    async def run(self, statement: str) -> None:
        await self.own.execute(statement)

    async def begin(self) -> None:
        self.points.append(self.own.transaction())
        await self.points[-1].start()

    savepoint = begin

    async def back(self) -> None:
        await self.points.pop().rollback()

    async def release(self) -> None:
        await self.points.pop().commit()

    async def commit(self) -> None:
        await self.points.pop().commit()

    async def rollback(self) -> None:
        await self.points.pop().rollback()

    async def publish(self, order_id: str) -> str:
        return await orders.publish_async(self.own, OrderPlaced(order_id))

    async def close(self) -> None:
        await self.own.close()

    async def outside(self) -> str:
        return await self.publish("lost")


class AsyncpgPool(Asyncpg):
    async def open(self, url: str) -> None:
        self.pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
        self.own = await self.pool.acquire()

    async def close(self) -> None:
        await self.pool.release(self.own)
        await self.pool.close()

    async def forget(self) -> None:
        await self.pool.release(self.own)  # which resets it
        await self.pool.close()


def to(url: str, driver: str) -> str:
    """The URL as SQLAlchemy takes it."""
    return url.replace("://", f"+{driver}://", 1)


class SaSession(Kind):
    driver = "psycopg"
    autocommit: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}

    async def open(self, url: str) -> None:
        self.url = url
        self.engine = create_engine(to(url, self.driver), poolclass=NullPool)
        self.own = Session(self.engine)

    async def begin(self) -> None:
        """It begins by itself."""

    async def write(self, order_id: str) -> None:
        self.own.add(Order(id=order_id, total=1))

    async def savepoint(self) -> None:
        self.points.append(self.own.begin_nested())

    async def back(self) -> None:
        self.points.pop().rollback()

    async def release(self) -> None:
        self.points.pop().commit()

    async def commit(self) -> None:
        self.own.commit()

    async def rollback(self) -> None:
        self.own.rollback()

    async def close(self) -> None:
        self.own.close()
        self.engine.dispose()

    async def forget(self) -> None:
        await self.close()

    async def outside(self) -> str:
        self.own = Session(self.engine.execution_options(**self.autocommit))
        lost = await self.publish("lost")
        self.own.commit()
        return lost


class SaSessionSqlite(SaSession):
    dialect = "sqlite"
    driver = "pysqlite"


class SaAsyncSession(Kind):
    driver = "asyncpg"
    autocommit: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}

    async def open(self, url: str) -> None:
        self.engine = create_async_engine(to(url, self.driver), poolclass=NullPool)
        self.own = AsyncSession(self.engine)

    async def begin(self) -> None:
        """It begins by itself."""

    async def write(self, order_id: str) -> None:
        self.own.add(Order(id=order_id, total=1))

    async def savepoint(self) -> None:
        self.points.append(await self.own.begin_nested())

    async def back(self) -> None:
        await self.points.pop().rollback()

    async def release(self) -> None:
        await self.points.pop().commit()

    async def commit(self) -> None:
        await self.own.commit()

    async def rollback(self) -> None:
        await self.own.rollback()

    async def close(self) -> None:
        await self.own.close()
        await self.engine.dispose()

    async def forget(self) -> None:
        await self.close()

    async def outside(self) -> str:
        self.own = AsyncSession(self.engine.execution_options(**self.autocommit))
        lost = await self.publish("lost")
        await self.own.commit()
        return lost


class SaAsyncSessionPsycopg(SaAsyncSession):
    driver = "psycopg"


class SaAsyncSessionSqlite(SaAsyncSession):
    dialect = "sqlite"
    driver = "aiosqlite"


class SaConnection(SaSession):
    async def open(self, url: str) -> None:
        self.engine = create_engine(to(url, self.driver), poolclass=NullPool)
        self.own = self.engine.connect()

    async def write(self, order_id: str) -> None:
        self.own.execute(insert(Order), {"id": order_id, "total": 1})

    async def outside(self) -> str:
        self.own = self.own.execution_options(**self.autocommit)
        return await self.publish("lost")


class SaConnectionSqlite(SaConnection):
    dialect = "sqlite"
    driver = "pysqlite"


class SaAsyncConnection(SaAsyncSession):
    async def open(self, url: str) -> None:
        self.engine = create_async_engine(to(url, self.driver), poolclass=NullPool)
        self.own = await self.engine.connect()

    async def write(self, order_id: str) -> None:
        await self.own.execute(insert(Order), {"id": order_id, "total": 1})

    async def publish(self, order_id: str) -> str:
        return await orders.publish_async(self.own, OrderPlaced(order_id))

    async def outside(self) -> str:
        self.own = await self.own.execution_options(**self.autocommit)
        return await self.publish("lost")


class SaAsyncConnectionPsycopg(SaAsyncConnection):
    driver = "psycopg"


class SaAsyncConnectionSqlite(SaAsyncConnection):
    dialect = "sqlite"
    driver = "aiosqlite"


class Django(Kind):
    """`connections[alias]` in a thread of its own, as Django insists; the alias is of this connection alone."""

    async def open(self, url: str) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.alias = "guest"
        connections.settings[self.alias] = config_of(url)
        self.own = await self.there(lambda: connections[self.alias])

    async def there(self, act: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, act)

    async def begin(self) -> None:
        atomic = transaction.atomic(using=self.alias)
        await self.there(atomic.__enter__)
        self.points.append(atomic)

    savepoint = begin

    async def commit(self) -> None:
        atomic = self.points.pop()
        await self.there(lambda: atomic.__exit__(None, None, None))

    release = commit

    async def rollback(self) -> None:
        atomic, error = self.points.pop(), ValueError("no")
        await self.there(lambda: atomic.__exit__(ValueError, error, None))

    back = rollback

    async def write(self, order_id: str) -> None:
        await self.there(lambda: self.own.cursor().execute(INSERT.format(order_id)))

    async def publish(self, order_id: str) -> str:
        return await self.there(lambda: orders.publish(self.own, OrderPlaced(order_id)))

    async def close(self) -> None:
        await self.there(self._close)
        self.thread.shutdown()

    def _close(self) -> None:
        self.own.close()
        del connections[self.alias], connections.settings[self.alias]

    async def forget(self) -> None:
        await self.close()

    async def outside(self) -> str:
        return await self.publish("lost")


class DjangoSqlite(Django):
    dialect = "sqlite"


class DjangoProxy(Django):
    """`django.db.connection`, which stands for the default alias of whatever thread."""

    async def open(self, url: str) -> None:
        await super().open(url)
        self.own = ConnectionProxy(connections, self.alias)


def config_of(url: str) -> dict[str, Any]:
    """What stands in DATABASES."""
    if url.startswith("sqlite"):
        config = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path_of(url))}
    else:
        parts = conninfo_to_dict(url)
        names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        config = {"ENGINE": "django.db.backends.postgresql"} | {key: parts.get(name, "") for key, name in names.items()}
    full: dict[str, Any] = connections.configure_settings({"default": config})["default"]
    return full


KINDS: list[type[Kind]] = [
    Sqlite3,
    Psycopg,
    PsycopgAsync,
    Asyncpg,
    AsyncpgPool,
    SaSession,
    SaSessionSqlite,
    SaAsyncSession,
    SaAsyncSessionPsycopg,
    SaAsyncSessionSqlite,
    SaConnection,
    SaConnectionSqlite,
    SaAsyncConnection,
    SaAsyncConnectionPsycopg,
    SaAsyncConnectionSqlite,
    Django,
    DjangoProxy,
    DjangoSqlite,
]
