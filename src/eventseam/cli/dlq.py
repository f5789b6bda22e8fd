"""`eventseam dlq`: lists what is unsettled, shows one message whole, tries it again, or drops it for good.

Payloads are printed by `dlq show` alone, because that is what it is asked for.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec

from eventseam.cli.exits import Exit, NothingMatched, UsageError
from eventseam.cli.known import ended_with, unknown_service_or_handler
from eventseam.cli.parsing import Command, add_database, add_limit, row_id, target
from eventseam.cli.render import Fields, Screen, Table, count_of, time_of
from eventseam.cli.store import database_of, read, write
from eventseam.clock import SystemClock
from eventseam.delivery.unsettled import (
    Filter,
    State,
    StateCount,
    Unsettled,
    count_unsettled,
    discard,
    list_unsettled,
    redrive,
    show_unsettled,
)
from eventseam.ports.probe import without_secrets

if TYPE_CHECKING:
    import argparse

    from eventseam.ports.sql import Sql

BODY_BYTES_SHOWN = 4_096
CAUSE_CHARS_SHOWN = 200
PAGE = 500


# --- list ---------------------------------------------------------------------------------------------------------


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _add_filter(parser)
    parser.add_argument(
        "--state",
        choices=("dead", "retrying", "waiting", "all"),
        default="dead",
        help="dead: given up (default); retrying: will be tried again; waiting: behind one of these in its lane",
    )
    add_limit(parser)
    add_database(parser)


def _list(args: argparse.Namespace, screen: Screen) -> int:
    which = _filter(args, None if args.state == "all" else args.state, limit=args.limit)

    async def page(sql: Sql) -> tuple[list[Unsettled], int, str | None]:
        rows = await list_unsettled(sql, which)
        total = sum(each.count for each in await count_unsettled(sql) if _counts(which, each))
        return rows, total, None if rows else await unknown_service_or_handler(sql, which.service, which.handler)

    rows, total, unknown = read(database_of(args), page)
    document = {"unsettled": [_document(row) for row in rows], "total": total, "more": total > len(rows)}
    if not rows:
        what = "dead letters" if args.state == "dead" else "such messages"
        screen.show(document, f"No {what}.")
        return ended_with(unknown)
    more = [f"{total - len(rows):,} more: raise --limit, or filter."] if total > len(rows) else []
    screen.show(document, Table(_COLUMNS, [_cells(row) for row in rows]), *more)
    return Exit.OK


_COLUMNS = ("id", "state", "service", "handler", "key", "type", "attempts", "since", "cause")


def _cells(row: Unsettled) -> tuple[object, ...]:
    where = (row.id, row.state, row.service, row.handler, row.lane)
    return (*where, row.envelope.type, row.attempts, time_of(row.since), _cause(row)[:CAUSE_CHARS_SHOWN])


def _counts(which: Filter, each: StateCount) -> bool:
    """Whether a count is part of what the list means."""
    asked = ((which.service, each.service), (which.handler, each.handler), (which.state, each.state))
    return all(wanted is None or wanted == found for wanted, found in asked)


# --- show ---------------------------------------------------------------------------------------------------------


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=row_id, metavar="ID", help="the id that `dlq list` shows")
    parser.add_argument("--raw", action="store_true", help="write the raw bytes of the message, and nothing else")
    add_database(parser)


def _show(args: argparse.Namespace, screen: Screen) -> int:
    if args.raw and args.json:
        raise UsageError("--raw and --json are two answers: give one of them.")
    row = read(database_of(args), lambda sql: show_unsettled(sql, args.id))
    if row is None:
        if args.json:
            screen.show({"id": args.id, "missing": 1})
        raise NothingMatched(f"there is no unsettled message {args.id}. See: eventseam dlq list --state all")
    body = row.body or b""
    if args.raw:
        screen.write_bytes(body)
        return Exit.OK
    document = {**_document(row), "error_trace": _safe(row.error_trace), "body": _body_document(body)}
    trace = [f"raised at\n{_safe(row.error_trace.rstrip())}"] if row.error_trace else []
    screen.show(document, Fields(_fields(row)), *trace, f"raw bytes ({len(body):,})\n{_body_text(body)}")
    return Exit.OK


def _fields(row: Unsettled) -> list[tuple[str, object]]:
    """Where it failed and why, then the envelope: what it is, whose it is, and what caused it."""
    sent = row.envelope
    return [
        ("id", row.id),
        ("state", row.state),
        ("handler", f"{row.service}.{row.handler}"),
        ("cause", _cause(row)),
        ("attempts", row.attempts),
        ("since", time_of(row.since)),
        ("next attempt", time_of(row.next_at) if row.state == "retrying" else None),
        ("message", row.message_id),
        ("type", sent.type),
        ("channel", sent.channel),
        ("key", sent.key),
        ("published", sent.time.isoformat()),
        ("source", sent.source),
        ("position", row.position),
        ("correlation", sent.correlation_id),
        ("causation", sent.causation_id),
        ("trace", sent.trace),
        ("content type", sent.content_type),
    ]


def _body_document(body: bytes) -> dict[str, object]:
    """The raw bytes, exactly; and as text where they are UTF-8."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    return {"size_bytes": len(body), "base64": base64.b64encode(body).decode(), "text": text}


def _body_text(body: bytes) -> str:
    """The first BODY_BYTES_SHOWN bytes for a look: what a terminal would obey becomes an escape."""
    text = body[:BODY_BYTES_SHOWN].decode("utf-8", "backslashreplace")
    rest = len(body) - BODY_BYTES_SHOWN
    return text if rest <= 0 else f"{text}\n… {rest:,} more bytes: --raw writes them all."


# --- redrive and discard ------------------------------------------------------------------------------------------


def _redrive_arguments(parser: argparse.ArgumentParser) -> None:
    _add_choice(parser, "try all dead letters again")
    parser.add_argument(
        "--from-channel",
        metavar="NAME",
        help="those whose copies a broker has on NAME.dlq, from where this was last done",
    )
    parser.add_argument(
        "--app",
        type=target,
        metavar="MODULE:FACTORY",
        help="with --from-channel: the app, whose own settings name database and broker (default: the environment's)",
    )


def _redrive(args: argparse.Namespace, screen: Screen) -> int:
    if args.from_channel:
        from eventseam.cli.dlq_channel import redrive_from_channel  # other commands start without an app

        return redrive_from_channel(args, screen)
    if args.app:
        raise UsageError("--app goes with --from-channel only.")
    which = _chosen(args)
    now = SystemClock().now().timestamp()
    count = write(database_of(args), lambda sql: redrive(sql, which, now))
    return _changed(count, args, screen, ("redriven", "will be tried again, with all attempts"))


def _discard_arguments(parser: argparse.ArgumentParser) -> None:
    _add_choice(parser, "drop all dead letters; needs --yes")
    parser.add_argument("--yes", action="store_true", help="confirm a discard that is not by id")


def _discard(args: argparse.Namespace, screen: Screen) -> int:
    which = _chosen(args)
    if not args.ids and not args.yes:
        raise UsageError("this drops dead letters for good. Add --yes if that is meant; `dlq list` shows which.")
    now = SystemClock().now().timestamp()

    async def drop(sql: Sql) -> int:
        if args.ids:
            return await discard(sql, args.ids, now)
        dropped = 0
        while rows := await list_unsettled(sql, which):
            dropped += await discard(sql, [row.id for row in rows], now)
        return dropped

    count = write(database_of(args), drop)
    return _changed(count, args, screen, ("discarded", "dropped for good"))


def _add_choice(parser: argparse.ArgumentParser, about_all: str) -> None:
    parser.add_argument("ids", nargs="*", type=row_id, metavar="ID", help="these messages")
    _add_filter(parser)
    parser.add_argument("--all", action="store_true", help=about_all)
    add_database(parser)


def _chosen(args: argparse.Namespace) -> Filter:
    """The rows that were named: by id, or the dead letters of a filter. Raises UsageError for both or neither."""
    by_filter = bool(args.service or args.handler or args.all)
    if bool(args.ids) == by_filter:
        raise UsageError("name the messages: either ids, or --service, --handler or --all.")
    if args.ids:
        return Filter(ids=tuple(args.ids))
    return _filter(args, "dead", limit=PAGE)


def _changed(count: int, args: argparse.Namespace, screen: Screen, verb: tuple[str, str]) -> int:
    """Say how many rows changed. Exit 1 if there were none, or fewer than there were ids."""
    missing = len(set(args.ids)) - count if args.ids else 0
    lines = [f"{count_of(count, 'message')} {verb[1]}."]
    if missing:
        lines.append(f"{missing:,} of the ids cannot be {verb[0]}. See: eventseam dlq list --state all")
    screen.show({verb[0]: count, "missing": missing}, "\n".join(lines))
    return Exit.FOUND if missing or not count else Exit.OK


# --- what all of them say of a row --------------------------------------------------------------------------------


def _document(row: Unsettled) -> dict[str, object]:
    """A row without its body, with the keys that scripts rely on. Times are RFC 3339."""
    return {
        "id": row.id,
        "service": row.service,
        "handler": row.handler,
        "key": row.lane,
        "message_id": row.message_id,
        "state": row.state,
        "attempts": row.attempts,
        "since": time_of(row.since),
        "next_at": time_of(row.next_at) if row.state == "retrying" else None,
        "error_class": row.error_class,
        "error_message": _safe(row.error_message),
        "position": row.position,
        "envelope": msgspec.to_builtins(row.envelope),
    }


def _cause(row: Unsettled) -> str:
    return f"{row.error_class}: {_safe(row.error_message)}" if row.error_class else ""


def _safe(text: str | None) -> str | None:
    """An error's text without the passwords of URLs."""
    return None if text is None else without_secrets(text)


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", metavar="NAME", help="only of this service")
    parser.add_argument("--handler", metavar="NAME", help="only of this handler")


def _filter(args: argparse.Namespace, state: State | None, *, limit: int) -> Filter:
    return Filter(service=args.service, handler=args.handler, state=state, limit=limit)


_CHANGES = (Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE)

COMMANDS = (
    Command(
        name="dlq list",
        summary="list dead letters, oldest first",
        details="List dead letters, or other messages that are unsettled: where, which, since when and why.",
        examples=(
            "eventseam dlq list --database sqlite:///shop.db",
            "eventseam dlq list --service payments --state all --limit 20",
            "eventseam dlq list --json | jq -r '.unsettled[].id'",
        ),
        arguments=_list_arguments,
        run=_list,
        exits=_CHANGES,
    ),
    Command(
        name="dlq show",
        summary="show one message whole: cause, attempts, origin, envelope, raw bytes",
        details="Show one unsettled message whole: cause, attempts, origin, envelope and raw bytes.",
        examples=(
            "eventseam dlq show 17",
            "eventseam dlq show 17 --json",
            "eventseam dlq show 17 --raw > message.json",
        ),
        arguments=_show_arguments,
        run=_show,
        exits=_CHANGES,
    ),
    Command(
        name="dlq redrive",
        summary="try dead letters again, each before what waits behind it",
        details=(
            "Try dead letters again, with all their attempts. Each is applied once, before what waits behind it\n"
            "in its lane. A message that is being retried is tried at once when its id is given.\n"
            "--from-channel reads the copies that a broker has: a message whose row was lost with its database is\n"
            "added again, unless the inbox knows that it was applied or discarded since, or it is still to be read."
        ),
        examples=(
            "eventseam dlq redrive 17 18",
            "eventseam dlq redrive --service payments --handler charge",
            "eventseam dlq redrive --all --database sqlite:///shop.db",
            "eventseam dlq redrive --from-channel order --database sqlite:///shop.db",
            "eventseam dlq redrive --from-channel order --app shop:create --json",
        ),
        arguments=_redrive_arguments,
        run=_redrive,
        exits=_CHANGES,
    ),
    Command(
        name="dlq discard",
        summary="drop dead letters for good",
        details="Drop messages for good; what waits behind one in its lane goes on.",
        examples=(
            "eventseam dlq discard 17",
            "eventseam dlq discard --handler charge --yes",
            "eventseam dlq discard --all --yes",
        ),
        arguments=_discard_arguments,
        run=_discard,
        exits=_CHANGES,
    ),
)
"""The commands of the group."""
