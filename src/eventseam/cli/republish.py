"""`eventseam republish`: publishes again what the journal still has, for consumers that lost it.

Copies have the ids that they had, so that whoever has a message does nothing: its inbox must still know it. Without
`--yes` nothing is published.
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from eventseam.app.settings import Settings
from eventseam.cli.exits import Exit, UsageError
from eventseam.cli.parsing import Command, add_database, hours, target, time
from eventseam.cli.render import Screen, Table, count_of
from eventseam.cli.store import database_of, use
from eventseam.cli.target import load_app
from eventseam.clock import SystemClock
from eventseam.journal.append import timestamp
from eventseam.journal.republish import Again, Choice, Chosen, copy
from eventseam.journal.retention import inbox_dropped

if TYPE_CHECKING:
    import argparse

    from eventseam.ports.sql import Operation, Sql, Store

_TELL_EVERY: Final = 100


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        type=target,
        metavar="MODULE:FACTORY",
        help="the app, whose settings hold inbox_hours",
    )
    parser.add_argument("--since", type=time, metavar="TIME", required=True, help="published then or later")
    parser.add_argument("--until", type=time, metavar="TIME", help="published before (default: now)")
    parser.add_argument("--type", metavar="NAME", help="only of this type, as it is on the wire: order.placed.v2")
    parser.add_argument("--key", metavar="KEY", help="only of this key")
    parser.add_argument("--channel", metavar="NAME", help="only of this channel")
    parser.add_argument("--inbox-hours", type=hours, metavar="H", help="how long every consumer's inbox keeps ids")
    parser.add_argument("--yes", action="store_true", help="publish; without it, tell what would be")
    add_database(parser)


def _run(args: argparse.Namespace, screen: Screen) -> int:
    """Tell what is chosen, or publish it. Exit 1 if that is nothing."""
    url, kept_hours = _asked(args)
    now = SystemClock().now()
    until = args.until or now
    _check(args.since, until, now, kept_hours)
    choice = Choice(timestamp(args.since), timestamp(until), args.type, args.key, args.channel)

    async def work(store: Store) -> Counter[str]:
        _check_dropped(args.since, await store.read(inbox_dropped))
        return await _walk(store, choice, is_meant=args.yes)

    found = use(url, work)
    count = found.total()
    document = {"published": args.yes, "messages": count, "types": dict(sorted(found.items())), **choice._asdict()}
    if not count:
        screen.show(document, "No such message in the journal.")
        return Exit.FOUND
    told = "published again, under the same ids." if args.yes else "would be published again. Add --yes to do it."
    screen.show(document, Table(("type", "messages"), sorted(found.items())), f"{count_of(count, 'message')} {told}")
    return Exit.OK


def _asked(args: argparse.Namespace) -> tuple[str, float]:
    """The database, and how long inboxes remember."""
    settings = Settings.from_env() if args.target is None else load_app(args.target).settings
    kept = settings.inbox_hours if args.inbox_hours is None else args.inbox_hours
    if args.database is None and args.target is not None:
        return settings.database_url, kept
    return database_of(args), kept


def _check(since: datetime, until: datetime, now: datetime, kept_hours: float) -> None:
    """Raise UsageError for a window that ends before it begins, or that inboxes do not reach back to."""
    if since >= until:
        raise UsageError(f"--since {timestamp(since)} is not before --until {timestamp(until)}.")
    earliest = now - timedelta(hours=kept_hours)
    if since < earliest:
        raise UsageError(
            f"inboxes keep ids for {kept_hours:g} h: what is older than {timestamp(earliest)} would be handled twice "
            "by whoever has it. Give a later --since; raise inbox_hours before the next time."
        )


def _check_dropped(since: datetime, dropped: datetime | None) -> None:
    """Raise UsageError for a window of which this database's inbox has dropped some, whatever the settings say."""
    if dropped is not None and since < dropped:
        raise UsageError(
            f"the inbox of this database was dropped up to {timestamp(dropped)}, by an app with a shorter inbox_hours "
            "or by `journal trim`: what is older would be handled twice by whoever has it. Give a later --since."
        )


async def _walk(store: Store, choice: Choice, *, is_meant: bool) -> Counter[str]:
    """How many messages of each type are chosen; each page is published in a transaction if that is meant."""
    again, found, pages, more = Again(choice), Counter[str](), 0, True
    while more:
        more, rows = await store.read(again.page)
        if rows and is_meant:
            await store.write(_copying(rows))
        found.update(row.type for row in rows)
        pages += 1
        if pages % _TELL_EVERY == 0:
            print(f"{found.total():,} messages …", file=sys.stderr, flush=True)
    return found


def _copying(rows: list[Chosen]) -> Operation[int]:
    async def operation(sql: Sql) -> int:
        return await copy(sql, rows)

    return operation


COMMAND = Command(
    name="republish",
    summary="publish again what the journal still has, for consumers that lost it",
    details=(
        "Append copies of the journal's messages to it, with the ids they had: services that have handled one do\n"
        "nothing, services and brokers that lost it get it. Refused for what is older than inboxes remember: by\n"
        "--inbox-hours, else the app's setting, else EVENTSEAM_INBOX_HOURS (24), and by what was dropped from the\n"
        "inbox of this database; inboxes of others it cannot see. Tells what it would do; --yes does it. Copies\n"
        "come after what was published meanwhile."
    ),
    examples=(
        "eventseam republish --since 2026-01-31T12:00:00Z --database postgresql://shop@db/shop",
        "eventseam republish shop:create --since 2026-01-31T12:00Z --until 2026-01-31T13:00Z --channel order --yes",
        "eventseam republish --since 2026-01-31T12:00Z --type order.placed --key ord_8x92k --yes --json",
    ),
    arguments=_arguments,
    run=_run,
    exits=(Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE),
)
