"""`eventseam dlq redrive --from-channel`: tries messages again of which a broker has copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eventseam.app.dead_letters import redrive_channel
from eventseam.app.settings import Settings
from eventseam.app.stores import open_broker
from eventseam.cli.exits import Exit, UsageError
from eventseam.cli.render import Screen, count_of
from eventseam.cli.store import database_of, use
from eventseam.cli.target import load_app
from eventseam.clock import Seams

if TYPE_CHECKING:
    import argparse
    from collections import Counter

    from eventseam.ports.sql import Store

_TOLD: Final = (
    ("redriven", "will be tried again, with all attempts"),
    ("restored", "had no row any more and will be tried again"),
    ("unsettled", "left as it is: it is being tried already"),
    ("settled", "left: applied or discarded since"),
    ("unread", "left: the service has not read that far yet, and will by itself"),
    ("unknown", "left: older than the inbox remembers, so that nobody can tell whether it was applied"),
    ("others", "skipped: of a service that is not in this database"),
    ("foreign", "skipped: no copy that Eventseam has written"),
)


def redrive_from_channel(args: argparse.Namespace, screen: Screen) -> int:
    """Read the copies that are new. Exit 1 if none of them leads to another attempt. Raises UsageError."""
    if args.ids or args.service or args.handler or args.all:
        raise UsageError(
            "--from-channel takes what is new on that channel: leave out ids, --service, --handler, --all."
        )
    settings = Settings.from_env() if args.app is None else load_app(args.app).settings
    if settings.transport_url.startswith(("journal:", "postgresql:", "postgres:")):
        raise UsageError(
            "--from-channel needs a broker, and EVENTSEAM_TRANSPORT names none: dead letters are rows alone. Redrive "
            "them with: eventseam dlq redrive --all"
        )
    url = database_of(args) if args.app is None else args.database or settings.database_url
    seams = Seams()

    async def work(store: Store) -> Counter[str]:
        broker = open_broker(settings, seams, {})
        try:
            await broker.open()
            return await redrive_channel(store, broker, args.from_channel, seams.clock)
        finally:
            await broker.close()

    found = use(url, work)
    lines = [f"{count_of(found[name], 'message')} {told}." for name, told in _TOLD if found[name]]
    document = {"channel": args.from_channel, **{name: found[name] for name, _ in _TOLD}}
    screen.show(document, "\n".join(lines) or f"Nothing new on {args.from_channel}.dlq.")
    return Exit.OK if found["redriven"] or found["restored"] else Exit.FOUND
