"""`eventseam outbox`: the newest rows of the journal, without their payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from eventseam.cli.exits import Exit
from eventseam.cli.known import ended_with, unknown_channel
from eventseam.cli.parsing import Command, add_database, add_limit
from eventseam.cli.render import Screen, Table
from eventseam.cli.store import database_of, read
from eventseam.journal.look import JournalRow, list_journal

if TYPE_CHECKING:
    import argparse

    from eventseam.ports.sql import Sql


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list",), default="list", help="list the rows (may be left out)")
    parser.add_argument("--channel", metavar="NAME", help="only of this channel")
    parser.add_argument("--key", metavar="KEY", help="only of this key")
    parser.add_argument("--pending", action="store_true", help="only what some service has not finished yet")
    add_limit(parser)
    add_database(parser)


def _run(args: argparse.Namespace, screen: Screen) -> int:
    """List one page."""

    async def page(sql: Sql) -> tuple[list[JournalRow], str | None]:
        rows = await list_journal(sql, channel=args.channel, key=args.key, pending=args.pending, limit=args.limit + 1)
        return rows, None if rows else await unknown_channel(sql, args.channel)

    rows, unknown = read(database_of(args), page)
    shown, more = rows[: args.limit], len(rows) > args.limit
    document = {"messages": [_document(row) for row in shown], "more": more}
    if not rows:
        screen.show(document, "No messages.")
        return ended_with(unknown)
    hint = ["There are more: raise --limit, or name --channel or --key."] if more else []
    screen.show(document, Table(_COLUMNS, [_cells(row) for row in shown]), *hint)
    return Exit.OK


def _document(row: JournalRow) -> dict[str, object]:
    """A row with the keys that scripts rely on: those of JournalRow, and never a payload."""
    return msgspec.structs.asdict(row)


_COLUMNS = ("position", "created", "channel", "key", "type", "source", "bytes", "behind", "correlation")


def _cells(row: JournalRow) -> tuple[object, ...]:
    what = (row.position, row.created_at, row.channel, row.key, row.type)
    return (*what, row.source, row.size, row.behind, row.correlation_id)


COMMAND = Command(
    name="outbox",
    summary="list the journal's newest messages",
    details="List what was published, newest first: the journal's rows without their payloads.",
    examples=(
        "eventseam outbox --database sqlite:///shop.db",
        "eventseam outbox list --channel order --key ord_8x92k",
        "eventseam outbox --pending --limit 20 --json",
    ),
    arguments=_arguments,
    run=_run,
    exits=(Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE),
)
