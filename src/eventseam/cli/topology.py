"""`eventseam topology`: what an app needs at its broker: look, make, check, and go on after partitions were added.

Nothing is ever deleted or changed at the broker.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from eventseam.cli.exits import Exit
from eventseam.cli.parsing import Command, add_database, target, url
from eventseam.cli.render import Screen, Table, count_of
from eventseam.cli.store import use
from eventseam.cli.target import load_app
from eventseam.errors import EventseamError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from eventseam.app.app import App
    from eventseam.app.topology import Accepted, Known, Topic
    from eventseam.ports.sql import Store

_COLUMNS = ("channel", "state", "partitions", "noted", "readers")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=target, metavar="MODULE:FACTORY", help="the app that needs the channels")
    parser.add_argument(
        "--transport", type=url, metavar="URL", help="the broker, such as kafka://host:9092 (default: the app's own)"
    )
    add_database(parser)


def _app(args: argparse.Namespace) -> App:
    """The app, with the broker and the database that were typed."""
    app = load_app(args.target)
    named = {"transport": args.transport, "database": args.database}
    app.settings = replace(app.settings, **{name: text for name, text in named.items() if text})
    return app


def _known(app: App) -> tuple[Known | None, list[str]]:
    """What the database knows; where it cannot be looked at, that is said and no error."""
    from eventseam.app.topology import known_by

    try:
        return use(app.settings.database_url, known_by), []
    except EventseamError as error:
        return None, [f"Not compared with what the app has noted: {error}"]


def _survey(app: App, known: Known | None, *, makes: bool = False) -> tuple[list[Topic], list[str]]:
    """What is there, and the channels that were made for it."""
    from eventseam.app.topology import connected, survey, wanted_by

    async def look() -> tuple[list[Topic], list[str]]:
        async with connected(app) as broker:
            missing = [each.channel for each in await survey(app, broker, known) if each.state == "missing"]
            if makes and missing:
                planned = wanted_by(app, broker)
                await broker.create({channel: planned[channel] for channel in missing})
            return await survey(app, broker, known), missing if makes else []

    return asyncio.run(look())


def _plan(args: argparse.Namespace, screen: Screen) -> int:
    app = _app(args)
    known, hints = _known(app)
    topics, _ = _survey(app, known)
    _show(screen, app, _named(topics, args), hints)
    return Exit.OK


def _apply(args: argparse.Namespace, screen: Screen) -> int:
    app = _app(args)
    known, hints = _known(app)
    topics, made = _survey(app, known, makes=True)
    told = f"Made {count_of(len(made), 'channel')}: {', '.join(made)}." if made else "Nothing was missing."
    _show(screen, app, _named(topics, args), [told, *hints], made)
    return Exit.OK


def _check(args: argparse.Namespace, screen: Screen) -> int:
    """Exit 1 if something is missing, or other than the app's database knows it."""
    from eventseam.app.topology import known_by

    app = _app(args)
    topics, _ = _survey(app, use(app.settings.database_url, known_by))
    _show(screen, app, _named(topics, args), [])
    return Exit.OK if all(each.state == "there" for each in topics) else Exit.FOUND


def _named(topics: Sequence[Topic], args: argparse.Namespace) -> list[Topic]:
    """The same, whose fixes name the app as it was typed."""
    fixes = [each.fix.replace("MODULE:FACTORY", args.target) if each.fix else None for each in topics]
    return [msgspec.structs.replace(each, fix=fix) for each, fix in zip(topics, fixes, strict=True)]


def _show(screen: Screen, app: App, topics: Sequence[Topic], hints: Sequence[str], made: Sequence[str] = ()) -> None:
    document = {
        "transport": str(app.settings.transport),
        "channels": [msgspec.structs.asdict(each) for each in topics],
        "made": list(made),
        "hints": list(hints),
    }
    rows = [(each.channel, each.state, each.partitions, each.noted, ", ".join(each.readers)) for each in topics]
    fixes = [f"{each.channel} is {each.state}. {_first(each)}Run: {each.fix}" for each in topics if each.fix]
    screen.show(document, Table(_COLUMNS, rows), *fixes, *hints)


def _first(topic: Topic) -> str:
    """What only the broker's own tools can do before the fix: no command of ours deletes a channel."""
    is_short = topic.state == "remade" and topic.noted is not None and topic.partitions < topic.noted
    return f"Make it with {topic.noted} partitions again. " if is_short else ""


# --- accept -------------------------------------------------------------------------------------------------------


def _accept_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="the channel whose topic has more partitions now")
    _arguments(parser)
    parser.add_argument(
        "--yes", action="store_true", help="also while messages are unread: later ones of their keys may overtake them"
    )


def _accept(args: argparse.Namespace, screen: Screen) -> int:
    """Refused (exit 1) while something is unread or an app runs."""
    from eventseam.app.topology import accept, connected

    app = _app(args)

    async def work(own: Store) -> Accepted:
        async with connected(app) as broker:
            return await accept(app, own, broker, args.channel, is_hasty=args.yes)

    done = use(app.settings.database_url, work)
    readers = f" Its readers here: {', '.join(done.readers)}." if done.readers else ""
    lines = [f"{done.channel} has {done.partitions} partitions now, {done.before} before.{readers}"]
    if done.elsewhere:
        names = ", ".join(done.elsewhere)
        lines.append(f"Not on this database: {names}. Run this with --database, for each that reads or publishes it.")
    screen.show(msgspec.structs.asdict(done), *lines, "Start the apps again.")
    return Exit.OK


_EXITS = (Exit.OK, Exit.USAGE, Exit.WIRING, Exit.STORAGE)
_FINDS = (Exit.OK, Exit.FOUND, Exit.USAGE, Exit.WIRING, Exit.STORAGE)

COMMANDS = (
    Command(
        name="topology plan",
        summary="what an app needs at its broker, and what is there",
        details=(
            "Show each channel and that of its dead letters: whether it is there, in how many partitions, who reads\n"
            "it, and what would be made. The app's database is looked at if it can be. Nothing is changed anywhere."
        ),
        examples=(
            "eventseam topology plan shop:create",
            "eventseam topology plan shop:create --transport 'kafka://localhost:9092?partitions=12' --json",
        ),
        arguments=_arguments,
        run=_plan,
        exits=_EXITS,
    ),
    Command(
        name="topology apply",
        summary="make what is missing at the broker",
        details=(
            "Make the channels that are not there, as `plan` shows them. What is there is neither changed nor\n"
            "deleted. An app makes them as well when it starts, if it may: this is for those that may not."
        ),
        examples=("eventseam topology apply shop:create --transport 'kafka+tls://admin:password@broker:9093'",),
        arguments=_arguments,
        run=_apply,
        exits=_EXITS,
    ),
    Command(
        name="topology check",
        summary="end with 1 if the broker lacks something, or has it otherwise than an app knows it",
        details=(
            "As `plan`, for scripts: exit code 1 if a channel is missing, has another number of partitions than the\n"
            "app's database has noted, or was deleted and made again since a reader stood in it."
        ),
        examples=("eventseam topology check shop:create --json || echo 'not as it was'",),
        arguments=_arguments,
        run=_check,
        exits=_FINDS,
    ),
    Command(
        name="topology accept",
        summary="go on with a channel whose topic was given more partitions",
        details=(
            "A key's later messages may lie in a new partition, and would overtake its earlier ones: apps refuse to\n"
            "start. Once everything is read and every app of this database is stopped, this moves its readers to the\n"
            "new partitions, with what they have unsettled. Run it for each database that reads or publishes it."
        ),
        examples=("eventseam topology accept order shop:create",),
        arguments=_accept_arguments,
        run=_accept,
        exits=_FINDS,
    ),
)
"""The commands of the group."""
