"""`eventseam lag`: how far each service is behind the journal, and how much of what it read is unsettled."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from eventseam.cli.exits import Exit
from eventseam.cli.parsing import Command, add_database, row_count, seconds, target
from eventseam.cli.render import Screen, Table
from eventseam.cli.store import database_of, read, use
from eventseam.cli.target import load_app
from eventseam.clock import SystemClock
from eventseam.delivery.unsettled import StateCount, count_unsettled
from eventseam.journal.bus import ON_BUS, RELAY, is_on_broker, service_of
from eventseam.journal.look import Lag, ReaderLag, by_reader, lag

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from eventseam.app.app import App  # noqa: TC004 - the dataclass does not evaluate it
    from eventseam.ports.sql import Sql

Unsettled = dict[str, int]

_UNKNOWN = "Where messages are elsewhere, only the app knows how many are behind: eventseam lag MODULE:FACTORY."


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="?", type=target, metavar="MODULE:FACTORY", help="the app, whose own settings name the database"
    )
    parser.add_argument(
        "--max-seconds",
        type=seconds,
        metavar="S",
        help="end with 1 if a service is more than S seconds behind, which a broker's readers do not know",
    )
    parser.add_argument(
        "--max-messages", type=row_count, metavar="N", help="end with 1 if a service is more than N messages behind"
    )
    parser.add_argument("--slots", action="store_true", help="a row for each slot (partition by key) of a service")
    add_database(parser)


def _run(args: argparse.Namespace, screen: Screen) -> int:
    """Look once. Exit 1 if a service is further behind than `--max-seconds` or `--max-messages` allows."""
    asked = _asked(args)
    now = SystemClock().now()

    async def look(sql: Sql) -> tuple[list[Lag], list[StateCount]]:
        return await lag(sql, now), await count_unsettled(sql)

    slots, counts = read(asked.url, look)
    if asked.app is not None:
        from eventseam.app.topology import lag_of

        slots = _with_broker(slots, use(asked.url, partial(lag_of, asked.app)))
    lags = [each for each in by_reader(slots) if asked.means(each.service)]
    if asked.bus is not None:
        on_bus = [each for each in by_reader(read(asked.bus, look)[0]) if asked.means(each.service)]
        lags += [msgspec.structs.replace(each, service=f"{each.service}{ON_BUS}") for each in on_bus]
    unsettled = _by_service(counts)
    never = sorted(asked.names.difference(service_of(each.service) for each in lags))
    document = {"services": [_document(each, unsettled) for each in lags], "never_ran": never}
    hints = [f"Never ran on this database: {', '.join(never)}."] if never else []
    if any(each.behind_messages is None for each in lags):
        hints.append(_UNKNOWN)
    if args.slots:
        table = Table(_SLOT_COLUMNS, [_slot_cells(each, slot) for each in lags for slot in each.slots])
    else:
        table = Table(_COLUMNS, [_cells(each, unsettled) for each in lags])
    screen.show(document, table if lags else "No service has read this journal yet.", *hints)
    return Exit.FOUND if any(_is_late(each, args) for each in lags) else Exit.OK


def _is_late(each: ReaderLag, args: argparse.Namespace) -> bool:
    """Whether a reader is further behind than is allowed. At a broker there is no time: there a message is late."""
    if args.max_messages is not None and (each.behind_messages or 0) > args.max_messages:
        return True
    if args.max_seconds is None:
        return False
    return each.behind_seconds > args.max_seconds if each.behind_seconds is not None else False


@dataclass(frozen=True, slots=True)
class _Asked:
    """Where to look, and for whom; no names means all that the database knows. `app` is that of a broker."""

    url: str
    names: frozenset[str] = frozenset()
    bus: str | None = None
    app: App | None = None

    def means(self, reader: str) -> bool:
        """Whether a reader is one of those. Its positions of the bus are kept in the bus: here they say nothing."""
        if reader == RELAY:
            return not self.names or self.bus is not None or self.app is not None
        is_ours = service_of(reader) in self.names and (reader in self.names or is_on_broker(reader))
        return is_ours or not self.names


def _asked(args: argparse.Namespace) -> _Asked:
    if args.target is None:
        return _Asked(database_of(args))
    app = load_app(args.target)
    bus, names = app.settings.transport_url, frozenset(service.name for service in app.services)
    url = args.database or app.settings.database_url
    if bus.startswith("journal:"):
        return _Asked(url, names)
    if bus.startswith("postgres"):
        return _Asked(url, names, bus)
    listening = frozenset(service.name for service in app.services if service.message_types())
    return _Asked(url, listening, app=app)


def _with_broker(slots: Sequence[Lag], behind: Mapping[tuple[str, int], int]) -> list[Lag]:
    """The same, with what the broker says of its readers; what they do not read there any more is left out."""
    known = [each for each in slots if not is_on_broker(each.service) or (each.service, each.slot) in behind]
    return [
        msgspec.structs.replace(each, behind_messages=behind.get((each.service, each.slot), each.behind_messages))
        for each in known
    ]


def _by_service(counts: Sequence[StateCount]) -> dict[str, Unsettled]:
    """Unsettled messages per service and state."""
    found: dict[str, Unsettled] = defaultdict(lambda: {"dead": 0, "retrying": 0, "waiting": 0})
    for each in counts:
        found[each.service][each.state] += each.count
    return found


def _owner_of(reader: str) -> str:
    """Under which name a reader's unsettled messages are kept: a service's under its own, wherever it reads."""
    return service_of(reader)


def _document(each: ReaderLag, unsettled: Mapping[str, Unsettled]) -> dict[str, object]:
    """One service, with the keys that scripts rely on."""
    return {
        "service": each.service,
        "position": each.position,
        "behind_messages": each.behind_messages,
        "behind_seconds": _rounded(each.behind_seconds),
        "owners": list(each.owners),
        "unsettled": unsettled[_owner_of(each.service)],
        "slots": [_slot_document(slot) for slot in each.slots],
    }


def _slot_document(each: Lag) -> dict[str, object]:
    return {
        "slot": each.slot,
        "position": each.position,
        "behind_messages": each.behind_messages,
        "behind_seconds": _rounded(each.behind_seconds),
        "owner": each.owner,
    }


_COLUMNS = ("service", "position", "behind", "seconds", "dead", "retrying", "waiting", "owner")
_SLOT_COLUMNS = ("service", "slot", "position", "behind", "seconds", "owner")


def _cells(each: ReaderLag, counts: Mapping[str, Unsettled]) -> tuple[object, ...]:
    unsettled = counts[_owner_of(each.service)]
    where = (each.service, each.position, each.behind_messages, _rounded(each.behind_seconds))
    owner = each.owners[0] if len(each.owners) == 1 else f"{len(each.owners)} processes" if each.owners else None
    return (*where, unsettled["dead"], unsettled["retrying"], unsettled["waiting"], owner)


def _slot_cells(reader: ReaderLag, each: Lag) -> tuple[object, ...]:
    return (reader.service, each.slot, each.position, each.behind_messages, _rounded(each.behind_seconds), each.owner)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


COMMAND = Command(
    name="lag",
    summary="how far each service is behind",
    details="Tell how far each service is behind the journal, and how many of its messages are unsettled.",
    examples=(
        "eventseam lag --database sqlite:///shop.db",
        "eventseam lag shop:create --slots",
        "eventseam lag shop:create --max-seconds 60 --max-messages 10000 --json || echo 'behind'",
    ),
    arguments=_arguments,
    run=_run,
    exits=(Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE),
)
