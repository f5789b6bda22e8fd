"""Where the services of a shop meet, if `--transport` says so: a broker of our own, a broker, or a PostgreSQL database.

The outside remembers it, so that a shop that was stopped goes on where its messages are. A shop that had none until now
may get one: it moves there. At a broker, topics begin with a prefix of the shop's own.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import msgspec

from eventseam.app.settings import BROKERS, Settings, redact
from eventseam.app.stores import open_broker
from eventseam.clock import Seams
from eventseam.demo.app import SERVICES
from eventseam.demo.outside import opened
from eventseam.demo.servers import check_bus
from eventseam.demo.where import POSTGRESQL
from eventseam.errors import SettingsError
from eventseam.journal.bus import RELAY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from eventseam.demo.look import Looks
    from eventseam.ports.transport import Broker, Cursor

EMBEDDED = "kafka:embedded"
CURSORS = "SELECT reader, slot, cursor FROM positions WHERE cursor IS NOT NULL AND reader <> $1"


@contextmanager
def opened_transport(wish: str | None, outside: Path) -> Generator[str | None]:
    """The URL of the transport that was asked for, for the time of the block; None if none was.

    Raises SettingsError for one that cannot be read, or is not this shop's; MissingExtraError, StorageError.
    """
    if wish is None:
        _agree(outside, None)
        yield None
    elif wish == EMBEDDED:
        if was := _remembered(outside):
            raise _elsewhere(was)
        from eventseam.testing.kafka import embedded_kafka

        with embedded_kafka() as url:
            _agree(outside, EMBEDDED)
            yield url
    elif wish.startswith(POSTGRESQL):
        check_bus(wish, is_ours=_remembered(outside) == _kind(wish))
        _agree(outside, _kind(wish))
        yield wish
    elif _kind(wish) in BROKERS:
        yield _at_broker(wish, outside)
    else:
        names = ", ".join(f"{name}://HOST" for name in BROKERS)
        raise SettingsError(f"--transport: write {EMBEDDED}, {names} or postgresql://USER@HOST/NAME")


def _kind(url: str) -> str:
    """The scheme of a URL, whichever way it is written."""
    scheme = url.partition(":")[0].removesuffix("+tls")
    return "postgresql" if scheme == "postgres" else scheme


def _at_broker(url: str, outside: Path) -> str:
    """The URL with a prefix of topics: its own, that of the run before, or a new one. Topics of others are refused."""
    was = _remembered(outside)
    prefix = _prefix_of(url)
    if prefix is None:
        known = was is not None and was.startswith(f"{_kind(url)} ")
        prefix = was.partition(" ")[2] if was and known else f"demo-{Seams().ids.new()[-12:]}-"
        url = f"{url}{'&' if '?' in url else '?'}prefix={prefix}"
    there = asyncio.run(_topics_there(url))
    place = f"{_kind(url)} {prefix}"
    if there and was != place:
        raise SettingsError(
            f"--transport: {redact(url).partition('?')[0]} holds {', '.join(there)} of another shop already, behind "
            f"the prefix {prefix!r}. Leave ?prefix= out, or name another one."
        )
    _agree(outside, place)
    return url


def _prefix_of(url: str) -> str | None:
    try:
        return parse_qs(urlsplit(url).query).get("prefix", [None])[0]
    except ValueError:
        return None  # what cannot be read is refused where it is opened


async def _topics_there(url: str) -> list[str]:
    """Those of the shop's channels that the broker has already."""
    async with broker_at(url) as broker:
        known = (each for service in SERVICES for each in service.message_types())
        return sorted(await broker.layouts({each.channel.name for each in known if not each.channel.internal}))


@asynccontextmanager
async def broker_at(url: str) -> AsyncGenerator[Broker]:
    """The broker of a URL, open for the time of the block. Raises SettingsError, StorageError, MissingExtraError."""
    broker = open_broker(Settings(transport=url), Seams(), {})
    try:
        await broker.open()
        yield broker
    finally:
        await broker.close()


def _remembered(outside: Path) -> str | None:
    if not outside.exists() or not outside.stat().st_size:
        return None  # nothing is made before all is well
    with opened(str(outside)) as file:
        return file.meeting()


def _agree(outside: Path, place: str | None) -> None:
    """Remember where this shop meets. Raises SettingsError if that was elsewhere: what lies there would be lost."""
    was = _remembered(outside)
    if was == place:
        return
    if was is not None:
        raise _elsewhere(was)
    with opened(str(outside)) as file:
        file.meet(str(place))


def _elsewhere(was: str) -> SettingsError:
    if was == EMBEDDED:
        return SettingsError(
            "--resume: this shop met at a broker of that run alone, which is gone with what lay there. Begin anew, and "
            "give --transport kafka://HOST:PORT if it is to be resumed."
        )
    kind, _, prefix = was.partition(" ")
    told = f"{kind}://…{f'?prefix={prefix}' if prefix else ''}"
    return SettingsError(
        f"--resume: this shop met elsewhere, and that is where its messages lie. Give --transport {told}"
    )


async def is_read(broker: Broker, shop: Looks) -> bool:
    """Whether no reader of the shop's services has anything before it at the broker, as far as is saved."""
    for look in shop.services:
        at: dict[str, dict[int, Cursor]] = {}
        for reader, slot, text in look.execute(CURSORS, RELAY):
            at.setdefault(reader, {})[slot] = tuple(map(tuple, msgspec.json.decode(text)))
        for cursors in at.values():
            if any((await broker.behind(cursors)).values()):
                return False
    return True
