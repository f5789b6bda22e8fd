"""What an app needs at a broker, what is there, and what to do about the difference: for `eventseam topology`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from eventseam.app.broker import (
    Cursors,
    cursors_of,
    move_lanes,
    narrowed,
    read_by,
    stands,
    wanted,
)
from eventseam.app.bus import public
from eventseam.app.capabilities import OURS, name_of
from eventseam.app.service import Service
from eventseam.app.stores import open_broker
from eventseam.errors import EventseamError, SettingsError, WiringError
from eventseam.journal.bus import ON_BUS, RELAY, counts_in, is_on_broker, note, note_of, on_broker, service_of
from eventseam.ports.transport import Cursor, Feature

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from eventseam.app.app import App
    from eventseam.ports.sql import Sql, Store
    from eventseam.ports.transport import Broker, Layout

State = Literal["there", "missing", "grown", "remade"]


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A channel at the broker: in how many partitions it is, or would be made; how many an app has noted, if one has.

    `grown`: there are more than noted. `remade`: it was deleted and made again since `readers` read it, which is also
    what fewer than noted say.
    """

    channel: str
    state: State
    partitions: int
    noted: int | None
    readers: tuple[str, ...]
    fix: str | None


class Known(NamedTuple):
    """What a database knows: the partitions of each channel, and the cursors of its readers."""

    counts: Mapping[str, int]
    readers: Mapping[str, Mapping[int, Cursor]]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Partitions that were added and are read now, by which readers; services that read elsewhere; messages unread."""

    channel: str
    before: int
    partitions: int
    readers: tuple[str, ...]
    elsewhere: tuple[str, ...]
    unread: int


@asynccontextmanager
async def connected(app: App) -> AsyncGenerator[Broker]:
    """The broker of an app's settings. Raises SettingsError if it has none, StorageUnavailable."""
    name = name_of(app.settings)
    if name in OURS:
        raise SettingsError(
            f"this app's way of messages is: {name}. There is no broker to look at. Name one: --transport kafka://HOST"
        )
    broker = open_broker(app.settings, app.seams, {})
    try:
        await broker.open()
        yield broker
    finally:
        await broker.close()


async def known_by(own: Store) -> Known:
    """What a database knows of its broker."""
    names = sorted({str(row[0]) for row in await own.ask("all_positions")})
    cursors = {name: await cursors_of(own, name) for name in names if is_on_broker(name)}
    readers = {name: {slot: cursor for slot, (_, cursor) in found.items()} for name, found in cursors.items()}
    return Known(counts_in(await note_of(own)), readers)


def wanted_by(app: App, broker: Broker) -> dict[str, int]:
    """The channels that an app needs, those of dead letters among them, and the partitions that they would get."""
    return wanted(public(app), broker.partitions)


async def survey(app: App, broker: Broker, known: Known | None) -> list[Topic]:
    """What is there of what an app needs, compared with what its database knows, if there is one."""
    needed = wanted_by(app, broker)
    layouts = await broker.layouts(needed)
    reading = {channel: [each.name for each in app.services if _listens(each, channel)] for channel in needed}
    return [
        _topic(channel, layouts.get(channel), count, _Reading(reading[channel], known or Known({}, {})))
        for channel, count in sorted(needed.items())
    ]


class _Reading(NamedTuple):
    services: Sequence[str]
    known: Known


def _topic(channel: str, layout: Layout | None, planned: int, reading: _Reading) -> Topic:
    known, count = reading.known, layout.partitions if layout else planned
    noted, readers = known.counts.get(channel), tuple(on_broker(each, count) for each in reading.services)
    stale = sorted(
        name
        for name, cursors in known.readers.items()
        if layout and name.endswith(f"/{max(count, noted or 0)}{ON_BUS}") and _is_stale(cursors, channel, layout)
    )
    state: State = "there"
    fix = None
    if layout is None:
        state, fix = "missing", "eventseam topology apply MODULE:FACTORY"
    elif stale:
        state, fix = "remade", f"eventseam journal accept-gap {' '.join(stale)}"
    elif noted is not None and count < noted:  # a publisher alone has nothing to accept
        state, fix = "remade", "eventseam topology check MODULE:FACTORY"
    elif noted not in (None, count):
        state, fix = "grown", f"eventseam topology accept {channel} MODULE:FACTORY"
    return Topic(channel=channel, state=state, partitions=count, noted=noted, readers=readers, fix=fix)


def _is_stale(cursors: Mapping[int, Cursor], channel: str, layout: Layout) -> bool:
    """Whether a reader stands in another incarnation of a channel; one whose loss was accepted does not."""
    named = {spot[1] for cursor in cursors.values() for spot in cursor if spot[0] == channel}
    return any(each not in ("", layout.incarnation) and not each.endswith("?") for each in named)


def _listens(service: Service[Any], channel: str) -> bool:
    return any(known.channel.name == channel for known in service.message_types())


async def lag_of(app: App, own: Store) -> dict[tuple[str, int], int]:
    """How many messages lie behind each reader and slot of an app's services at their broker."""
    async with connected(app) as broker:
        layouts = await broker.layouts(public(app))
        found: dict[tuple[str, int], int] = {}
        for service in app.services:
            for slots, channels in read_by(service, layouts).items():
                name = on_broker(service.name, slots)
                at = await stands(broker, name, await cursors_of(own, name), channels)
                found |= {(name, slot): count for slot, count in (await broker.behind(at)).items()}
        return found


# --- partitions that were added -----------------------------------------------------------------------------------


class _Move(NamedTuple):
    """One reader that leaves a channel to another one: its cursors as they were read, where the new one begins, and how
    many messages it has not read.
    """

    service: Service[Any]
    old: str
    new: str
    cursors: Cursors
    spots: Mapping[int, Cursor]
    unread: int


async def accept(app: App, own: Store, broker: Broker, channel: str, *, is_hasty: bool = False) -> Accepted:
    """Let the readers of a database read a channel in the partitions that it has now; its relay publishes to them.

    Every message of the old partitions has to be read: a later one of its key may lie in a new one. `is_hasty` goes on
    without, and gives that up. What is not relayed yet comes after these anyhow. Raises EventseamError while something
    is unread or a process runs, or if nothing has grown; WiringError where a handler would read two places.
    """
    before, layout = await _growth(own, broker, channel)
    _check_handlers(app, channel, await broker.layouts(public(app)))
    moves: list[_Move] = []
    unread = 0
    for name in sorted((await known_by(own)).readers):
        if name.endswith(f"/{before}{ON_BUS}"):
            cursors = await cursors_of(own, name)
            if any(narrowed(cursor, (channel,)) for _, cursor in cursors.values()):
                moves.append(await _move(app, broker, (name, cursors), (channel, layout.partitions)))
                unread += moves[-1].unread
    if unread and not is_hasty:
        raise EventseamError(
            f"{unread:,} messages of {channel} are unread here: later ones of their keys could overtake them. Let the "
            "apps that run read everything (eventseam lag), stop them, and try again. If none runs any more, --yes "
            "goes on and gives up that order."
        )
    now = app.seams.clock.now().timestamp()

    async def move(sql: Sql) -> None:
        await _refuse_owners(sql, [RELAY, *(each.old for each in moves), *(each.new for each in moves)], now)
        for each in moves:
            await _carry_over(sql, broker, each, channel)
        text = next(row[2] for row in await sql.rows("apart_cursors", [RELAY]) if row[1] == 0)
        await note(sql, text, {channel: layout.partitions})
        await sql.changed("fence_reader", RELAY)

    await own.write(move)
    here = {each.service.name for each in moves}
    return Accepted(
        channel=channel,
        before=before,
        partitions=layout.partitions,
        readers=tuple(each.new for each in moves),
        elsewhere=tuple(each.name for each in app.services if _listens(each, channel) and each.name not in here),
        unread=unread,
    )


async def _growth(own: Store, broker: Broker, channel: str) -> tuple[int, Layout]:
    """How many partitions are noted, and what is there. Raises EventseamError where nothing was added."""
    before = counts_in(await note_of(own)).get(channel)
    layout = (await broker.layouts([channel])).get(channel)
    if before is None or layout is None:
        where = "at the broker" if layout is None else "in this database, whose apps have not published to it"
        raise EventseamError(f"channel {channel} is not known {where}. See: eventseam topology plan")
    if layout.partitions == before:
        raise EventseamError(f"channel {channel} has {before} partitions, as is noted here: nothing to accept.")
    if layout.partitions < before:
        raise EventseamError(
            f"channel {channel} had {before} partitions and has {layout.partitions}: it was deleted and made again. "
            f"Make it with {before}, then: eventseam journal accept-gap, for each of its readers"
        )
    if Feature.REPLAY not in broker.capabilities.features:
        raise WiringError("this transport has queues: their number cannot change under messages that wait in them.")
    return before, layout


def _check_handlers(app: App, channel: str, layouts: Mapping[str, Layout]) -> None:
    """Raise WiringError for a handler that takes messages of a channel that has not grown with this one."""
    for each in (each for service in app.services for each in service.declarations):
        channels = {known.channel.name for known in each.types}
        counts = {name: layouts[name].partitions for name in sorted(channels) if name in layouts}
        if channel in channels and len(set(counts.values())) > 1:
            told = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise WiringError(
                f"{each.place} takes messages of channels with different numbers of partitions ({told}): one key would "
                "have two places, and no order. Give them the same number, then accept each."
            )


async def _move(app: App, broker: Broker, old: tuple[str, Cursors], to: tuple[str, int]) -> _Move:
    """Where the reader begins that takes a channel over: as far as the old one is, and at the oldest of what is new."""
    (name, cursors), (channel, slots) = old, to
    service = next((each for each in app.services if each.name == service_of(name)), None)
    if service is None:
        raise WiringError(
            f"{name} reads {channel} on this database, and this app has no {service_of(name)}. Name the app that "
            f"has it; if none has it any more: eventseam journal forget-reader {name}"
        )
    new = on_broker(service.name, slots)
    oldest = await broker.begin(new, [channel], slots, "beginning")
    spots = await stands(broker, name, cursors, (channel,))
    unread = sum((await broker.behind(spots)).values())
    return _Move(service, name, new, cursors, {**oldest, **spots}, unread)


async def _refuse_owners(sql: Sql, readers: Sequence[str], now: float) -> None:
    for reader in readers:
        owners = sorted(row[0] for row in await sql.rows("reader_owners", reader, now) if row[0])
        if owners:
            raise EventseamError(
                f"{reader} is owned by {owners[0]} now. Stop every app that uses this database; one that was killed "
                "counts until its lease ends (lease_seconds)."
            )


async def _carry_over(sql: Sql, broker: Broker, move: _Move, channel: str) -> None:
    """Put the spots of a channel into the new reader's cursors. The old one's keep theirs: positions must not shift."""
    rows = {row[1]: row[2] for row in await sql.rows("apart_cursors", [move.old])}
    if rows != {slot: text for slot, (text, _) in move.cursors.items()}:
        raise EventseamError(f"{move.old} has moved meanwhile: an app runs. Stop it and try again.")
    known = {row[1]: row[2] for row in await sql.rows("apart_cursors", [move.new])}
    for slot, (spot,) in sorted(move.spots.items()):
        was: Cursor = tuple(map(tuple, msgspec.json.decode(known[slot]))) if known.get(slot) else ()
        text = msgspec.json.encode(_put(was, spot)).decode()
        if slot in known:
            await sql.changed("widen_cursor", move.new, slot, known[slot], text)
        else:
            await sql.changed("new_apart_position", move.new, slot, text)
    await sql.changed("fence_reader", move.new)
    await sql.changed("fence_reader", move.old)
    await move_lanes(sql, broker, (move.service, (channel,)), len(move.spots))


def _put(cursor: Cursor, spot: tuple[str, str, int]) -> Cursor:
    """A cursor with a channel's spot: in the place that it has there, or at the end."""
    if any(each[0] == spot[0] for each in cursor):
        return tuple(spot if each[0] == spot[0] else each for each in cursor)
    return (*cursor, spot)
