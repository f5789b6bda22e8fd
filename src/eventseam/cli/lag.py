"""`eventseam lag`: how far each service is behind the journal, and how much of what it read is unsettled."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from eventseam.cli.exits import Exit
from eventseam.cli.parsing import Command, add_database, seconds, target
from eventseam.cli.render import Screen, Table
from eventseam.cli.store import database_of, read
from eventseam.cli.target import load_app
from eventseam.clock import SystemClock
from eventseam.delivery.unsettled import StateCount, count_unsettled
from eventseam.journal.bus import RELAY, service_of
from eventseam.journal.look import Lag, ReaderLag, by_reader, lag

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from eventseam.ports.sql import Sql

Unsettled = dict[str, int]

_BUS = "@bus"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="?", type=target, metavar="MODULE:FACTORY", help="the app, whose own settings name the database"
    )
    parser.add_argument(
        "--max-seconds", type=seconds, metavar="S", help="end with 1 if a service is more than S seconds behind"
    )
    parser.add_argument("--slots", action="store_true", help="a row for each slot (partition by key) of a service")
    add_database(parser)


def _run(args: argparse.Namespace, screen: Screen) -> int:
    """Look once. Exit 1 if a service is further behind than `--max-seconds` allows."""
    asked = _asked(args)
    now = SystemClock().now()

    async def look(sql: Sql) -> tuple[list[Lag], list[StateCount]]:
        return await lag(sql, now), await count_unsettled(sql)

    slots, counts = read(asked.url, look)
    lags = [each for each in by_reader(slots) if asked.means(each.service)]
    if asked.bus is not None:
        on_bus = [each for each in by_reader(read(asked.bus, look)[0]) if asked.means(each.service)]
        lags += [msgspec.structs.replace(each, service=f"{each.service}{_BUS}") for each in on_bus]
    unsettled = _by_service(counts)
    never = sorted(asked.names.difference(each.service.removesuffix(_BUS) for each in lags))
    document = {"services": [_document(each, unsettled) for each in lags], "never_ran": never}
    hint = [f"Never ran on this database: {', '.join(never)}."] if never else []
    if args.slots:
        table = Table(_SLOT_COLUMNS, [_slot_cells(each, slot) for each in lags for slot in each.slots])
    else:
        table = Table(_COLUMNS, [_cells(each, unsettled) for each in lags])
    screen.show(document, table if lags else "No service has read this journal yet.", *hint)
    late = args.max_seconds is not None and any(each.behind_seconds > args.max_seconds for each in lags)
    return Exit.FOUND if late else Exit.OK


class _Asked(NamedTuple):
    """Where to look, and for whom; no names means all that the database knows."""

    url: str
    names: frozenset[str] = frozenset()
    bus: str | None = None

    def means(self, reader: str) -> bool:
        """Whether a reader is one of those. Its positions of the bus are kept in the bus: here they say nothing."""
        return not self.names or reader in self.names or (reader == RELAY and self.bus is not None)


def _asked(args: argparse.Namespace) -> _Asked:
    if args.target is None:
        return _Asked(database_of(args))
    app = load_app(args.target)
    bus = app.settings.transport_url
    return _Asked(
        args.database or app.settings.database_url,
        frozenset(service.name for service in app.services),
        None if bus.startswith("journal:") else bus,
    )


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
        "behind_seconds": round(each.behind_seconds, 3),
        "owners": list(each.owners),
        "unsettled": unsettled[_owner_of(each.service)],
        "slots": [_slot_document(slot) for slot in each.slots],
    }


def _slot_document(each: Lag) -> dict[str, object]:
    return {
        "slot": each.slot,
        "position": each.position,
        "behind_messages": each.behind_messages,
        "behind_seconds": round(each.behind_seconds, 3),
        "owner": each.owner,
    }


_COLUMNS = ("service", "position", "behind", "seconds", "dead", "retrying", "waiting", "owner")
_SLOT_COLUMNS = ("service", "slot", "position", "behind", "seconds", "owner")


def _cells(each: ReaderLag, counts: Mapping[str, Unsettled]) -> tuple[object, ...]:
    unsettled = counts[_owner_of(each.service)]
    where = (each.service, each.position, each.behind_messages, round(each.behind_seconds, 3))
    owner = each.owners[0] if len(each.owners) == 1 else f"{len(each.owners)} processes" if each.owners else None
    return (*where, unsettled["dead"], unsettled["retrying"], unsettled["waiting"], owner)


def _slot_cells(reader: ReaderLag, each: Lag) -> tuple[object, ...]:
    return (reader.service, each.slot, each.position, each.behind_messages, round(each.behind_seconds, 3), each.owner)


COMMAND = Command(
    name="lag",
    summary="how far each service is behind",
    details="Tell how far each service is behind the journal, and how many of its messages are unsettled.",
    examples=(
        "eventseam lag --database sqlite:///shop.db",
        "eventseam lag shop:create --slots",
        "eventseam lag shop:create --max-seconds 60 --json || echo 'behind'",
    ),
    arguments=_arguments,
    run=_run,
    exits=(Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE),
)
