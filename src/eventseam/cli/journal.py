"""`eventseam journal`: drops what is old, accepts gaps, forgets readers, and puts a restored journal right.

Nothing that a reader needs is dropped without `--force`, and then its gap is visible until somebody accepts it.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from eventseam.app.retention import ROWS
from eventseam.app.settings import Settings
from eventseam.cli.exits import Exit, NothingMatched, UsageError
from eventseam.cli.parsing import Command, add_database, hours, target
from eventseam.cli.render import Screen, Table, count_of
from eventseam.cli.store import database_of, read, use, write
from eventseam.cli.target import load_app
from eventseam.clock import SystemClock
from eventseam.journal.append import timestamp
from eventseam.journal.bus import accept_loss, is_on_broker
from eventseam.journal.rebase import Rebased, rebase
from eventseam.journal.retention import (
    Dropped,
    Gap,
    Need,
    Windows,
    accept_gaps,
    force,
    forget_reader,
    gaps,
    needs,
    trim,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from eventseam.ports.sql import Sql, Store

_TELL_EVERY: Final = 20
_NOTHING: Final = "0001-01-01T00:00:00.000Z"


# --- trim ---------------------------------------------------------------------------------------------------------


def _trim_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="?", type=target, metavar="MODULE:FACTORY", help="the app, whose settings say what is kept"
    )
    parser.add_argument("--journal-hours", type=hours, metavar="H", help="drop journal rows older than H hours")
    parser.add_argument("--inbox-hours", type=hours, metavar="H", help="drop inbox rows older than H hours")
    parser.add_argument("--force", action="store_true", help="drop journal rows also where a reader needs them")
    parser.add_argument("--yes", action="store_true", help="confirm --force")
    add_database(parser)


def _trim(args: argparse.Namespace, screen: Screen) -> int:
    """Drop what is old. Exit 1 if a reader was in the way."""
    url, windows = _asked(args)
    if args.force and not args.yes:
        raise UsageError(
            "--force drops messages that readers have not handled: they stop until `journal accept-gap`. "
            "Add --yes if that is meant; without --force this command names them."
        )

    async def work(store: Store) -> tuple[Dropped, list[Need], list[Gap]]:
        dropped = await _all(store, windows, is_forced=args.force)
        return dropped, *await store.read(lambda sql: _left(sql, windows))

    dropped, needed, found = use(url, work)
    document = {
        "journal": dropped.journal,
        "inbox": dropped.inbox,
        "needed_by": [msgspec.structs.asdict(each) for each in needed],
        "gaps": [msgspec.structs.asdict(each) for each in found],
    }
    lines: list[Table | str] = [f"Dropped {dropped.journal:,} of the journal, {dropped.inbox:,} of the inbox."]
    if needed:
        lines += [_needs(needed), "They are needed: let the readers run, or see `eventseam journal forget-reader`."]
    if found:
        lines += [_gaps(found), "These readers stop until: eventseam journal accept-gap"]
    screen.show(document, *lines)
    return Exit.FOUND if needed else Exit.OK


def _asked(args: argparse.Namespace) -> tuple[str, Windows]:
    """The database, and what may go there. Raises UsageError where nothing says how long, or windows do not fit."""
    journal, inbox, url = args.journal_hours, args.inbox_hours, args.database
    settings = Settings.from_env() if args.target is None else load_app(args.target).settings
    if args.target is not None:
        journal = settings.journal_hours if journal is None else journal
        inbox = settings.inbox_hours if inbox is None else inbox
        url = url or settings.database_url
    if journal is None and inbox is None:
        raise UsageError("say how long things are kept: name the app, or give --journal-hours or --inbox-hours.")
    _check(args, settings.lease_seconds, inbox)
    return url or database_of(args), Windows(_before(journal), _before(inbox))


def _check(args: argparse.Namespace, lease_seconds: float, inbox: float | None) -> None:
    """Raise UsageError for windows that an app is refused with: see Settings."""
    if inbox is not None and inbox * 3_600 < lease_seconds:
        raise UsageError(
            f"--inbox-hours {inbox:g} is shorter than lease_seconds ({lease_seconds:g}): the inbox would forget what "
            f"may still be at work. Give {lease_seconds / 3_600:.3g} or more."
        )
    if None not in (args.journal_hours, args.inbox_hours) and args.journal_hours < args.inbox_hours:
        raise UsageError(
            f"--journal-hours {args.journal_hours:g} is shorter than --inbox-hours {args.inbox_hours:g}: the inbox "
            "would remember messages that the journal cannot publish again. Raise the one or lower the other."
        )


def _before(kept_hours: float | None) -> str:
    """The time before which rows may go."""
    return _NOTHING if kept_hours is None else timestamp(SystemClock().now() - timedelta(hours=kept_hours))


async def _all(store: Store, windows: Windows, *, is_forced: bool) -> Dropped:
    """Drop some thousand rows at a time until there are no more."""

    async def page(sql: Sql) -> Dropped:
        await sql.rows("lock_retention")
        dropped = await trim(sql, windows, rows_max)
        return Dropped(await force(sql, windows.journal_before, rows_max), dropped.inbox) if is_forced else dropped

    rows_max, journal, inbox, pages = ROWS[store.dialect], 0, 0, 0
    while True:
        dropped = await store.write(page)
        journal, inbox, pages = journal + dropped.journal, inbox + dropped.inbox, pages + 1
        if max(dropped) < rows_max:
            return Dropped(journal, inbox)
        if pages % _TELL_EVERY == 0:
            print(f"dropped {journal:,} of the journal, {inbox:,} of the inbox …", file=sys.stderr, flush=True)


async def _left(sql: Sql, windows: Windows) -> tuple[list[Need], list[Gap]]:
    return await needs(sql, windows.journal_before), await gaps(sql)


def _needs(found: Sequence[Need]) -> Table:
    rows = [(each.reader, each.messages, each.first, each.last, each.oldest) for each in found]
    return Table(("reader", "not finished", "from", "to", "oldest"), rows)


def _gaps(found: Sequence[Gap]) -> Table:
    return Table(
        ("reader", "gap since", "from", "to"), [(each.reader, each.since, each.first, each.last) for each in found]
    )


# --- accept-gap ---------------------------------------------------------------------------------------------------


def _accept_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("readers", nargs="*", metavar="READER", help="whose gap; without any, gaps are listed")
    add_database(parser)


def _accept(args: argparse.Namespace, screen: Screen) -> int:
    """Accept the gaps of the services that are named. Exit 1 if one of them has none, or gaps are only listed."""
    wanted = frozenset(args.readers)

    async def accept(sql: Sql) -> tuple[list[Gap], list[str]]:
        found = [each for each in await gaps(sql) if not wanted or each.reader in wanted]
        if wanted:
            await accept_gaps(sql, [each.reader for each in found])
        return found, [each for each in sorted(wanted) if is_on_broker(each) and await accept_loss(sql, each)]

    found, lossy = write(database_of(args), accept) if wanted else read(database_of(args), accept)
    is_accepted = bool(wanted and (found or lossy))
    document = {"gaps": [msgspec.structs.asdict(each) for each in found], "brokers": lossy, "accepted": is_accepted}
    without = sorted(wanted - {each.reader for each in found} - {*lossy})
    if not found and not lossy:
        screen.show(document, "No gaps." if not wanted else f"No gap of {', '.join(without)}.")
        return Exit.FOUND if wanted else Exit.OK
    what = (
        "Accepted: they go on behind it." if wanted else "Repair what depends on these messages, then name them here."
    )
    lines: list[Table | str] = [_gaps(found), what] if found else []
    lines += [f"Accepted: {', '.join(lossy)} goes on with what is still at the broker."] if lossy else []
    screen.show(document, *lines, *([f"No gap of {', '.join(without)}."] if without else []))
    return Exit.OK if wanted and not without else Exit.FOUND


# --- forget-reader ------------------------------------------------------------------------------------------------


def _forget_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reader", metavar="SERVICE", help="the service, as `eventseam lag` names it")
    parser.add_argument("--yes", action="store_true", help="confirm: if it comes back, it starts as a new service does")
    add_database(parser)


def _forget(args: argparse.Namespace, screen: Screen) -> int:
    """Drop the positions of a service that exists no more."""
    if not args.yes:
        raise UsageError(f"this drops how far {args.reader} has read. Add --yes if it will never run again.")
    now = SystemClock().now().timestamp()

    async def forget(sql: Sql) -> tuple[bool, int, list[str]]:
        is_gone = await forget_reader(sql, args.reader, now)
        rows = await sql.rows("SELECT count(*) FROM unsettled WHERE service = $1", args.reader)
        return is_gone, rows[0][0], sorted({row[0] for row in await sql.rows("all_positions")})

    is_gone, unsettled, others = write(database_of(args), forget)
    if not is_gone:
        raise NothingMatched(f"no service '{args.reader}' reads this journal; there are: {', '.join(others)}.")
    left = f" Its {count_of(unsettled, 'unsettled message')} stay: eventseam dlq list --service {args.reader}"
    told = f"{args.reader} is forgotten.{left if unsettled else ''}"
    screen.show({"forgotten": args.reader, "unsettled": unsettled}, told)
    return Exit.OK


# --- rebase -------------------------------------------------------------------------------------------------------


def _rebase_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do it: every app of this journal is stopped")
    add_database(parser)


def _rebase(args: argparse.Namespace, screen: Screen) -> int:
    """Begin a new era, if the journal comes from another cluster. Exit 1 without `--yes`."""
    url = database_of(args)

    async def work(store: Store) -> Rebased | tuple[str, str] | None:
        if store.dialect == "sqlite":
            return None
        _, journal, connected = (await store.ask("journal_state"))[0]
        if journal == connected:
            return None
        return await store.write(rebase) if args.yes else (journal, connected)

    done = use(url, work, any_cluster=True)
    if done is None:
        screen.show({"rebased": False, "needed": False}, "This journal belongs to its database: nothing to do.")
        return Exit.OK
    if not isinstance(done, Rebased):
        told = f"The journal was written in the cluster {done[0]}, and this is {done[1]}. Stop every app and add --yes."
        screen.show({"rebased": False, "needed": True, "cluster": done[1], "cluster_before": done[0]}, told)
        return Exit.FOUND
    document = {"rebased": True, "needed": False, **msgspec.structs.asdict(done)}
    readers = ", ".join(done.readers) or "none"
    screen.show(document, f"Era {done.era} has begun. Readers that first finish the one before: {readers}.", _AFTER)
    return Exit.OK


_AFTER: Final = (
    "What was published after the backup was made is not in this journal. Brokers, other databases and whoever was\n"
    "told may have it: compare, and republish or repair. Start the apps again."
)


_CHANGES = (Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE)

COMMANDS = (
    Command(
        name="journal trim",
        summary="drop what is old now, or name who still needs it",
        details=(
            "Drop rows of the journal that every reader has finished, and rows of the inbox, by age: what a running\n"
            "app does every minute. Readers that need old rows are named, and keep them. --force drops these too:\n"
            "their readers stop, with the range in their message, until `journal accept-gap`."
        ),
        examples=(
            "eventseam journal trim shop:create",
            "eventseam journal trim --journal-hours 24 --database postgresql://shop@db/shop",
            "eventseam journal trim shop:create --force --yes",
        ),
        arguments=_trim_arguments,
        run=_trim,
        exits=_CHANGES,
    ),
    Command(
        name="journal accept-gap",
        summary="let services go on behind messages that were dropped unread",
        details=(
            "Without a name, list the services whose messages were dropped before they had read them. Repair what\n"
            "depends on these messages, then name the services: they go on behind the gap. A reader of a broker\n"
            "(statistics/6@bus) is named by the error that stopped it: it goes on with what is still there."
        ),
        examples=(
            "eventseam journal accept-gap",
            "eventseam journal accept-gap statistics",
            "eventseam journal accept-gap statistics/6@bus",
        ),
        arguments=_accept_arguments,
        run=_accept,
        exits=_CHANGES,
    ),
    Command(
        name="journal forget-reader",
        summary="forget a service that will never run again",
        details=(
            "Drop the positions of a service that exists no more: until then the journal keeps everything for it.\n"
            "Refused while a process runs it, as far as its lease tells: stop them first. One that stood still for\n"
            "longer ends with an error when it comes back, and starts anew as a new service does."
        ),
        examples=("eventseam journal forget-reader statistics --yes",),
        arguments=_forget_arguments,
        run=_forget,
        exits=_CHANGES,
    ),
    Command(
        name="journal rebase",
        summary="let a journal go on that was restored or moved to another PostgreSQL cluster",
        details=(
            "After pg_dump and restore, or a move to another cluster, transaction numbers begin anew and say nothing\n"
            "of the rows that are there: apps refuse to start. Stop all of them, then run this: each reader finishes\n"
            "what was restored by the old numbers and goes on with the new ones. It loses and repeats nothing."
        ),
        examples=("eventseam journal rebase --database postgresql://shop@db/shop", "eventseam journal rebase --yes"),
        arguments=_rebase_arguments,
        run=_rebase,
        exits=_CHANGES,
    ),
)
"""The commands of the group."""
