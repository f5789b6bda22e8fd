"""`eventseam describe`: what an app consists of, without starting it or opening its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from eventseam.cli.exits import Exit
from eventseam.cli.parsing import Command, target
from eventseam.cli.render import Fields, Screen, Table
from eventseam.cli.target import load_app

if TYPE_CHECKING:
    import argparse

_HANDLER_COLUMNS = ("service", "handler", "kind", "mode", "takes", "attempts", "timeout s")
_MESSAGE_COLUMNS = ("message", "kind", "channel", "key", "class")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=target, metavar="MODULE:FACTORY", help="the function that returns the App")


def _run(args: argparse.Namespace, screen: Screen) -> int:
    """Load the app and show its description."""
    document = load_app(args.target).describe()
    handlers = [_handler(service["name"], each) for service in document["services"] for each in service["handlers"]]
    messages = [_message(each) for each in document["messages"]]
    screen.show(
        document,
        Fields(list(document["settings"].items())),
        Fields([(f"transport {name}", _words(value)) for name, value in document["transport"].items()]),
        Table(_HANDLER_COLUMNS, handlers),
        Table(_MESSAGE_COLUMNS, messages),
    )
    return Exit.OK


def _words(value: object) -> object:
    return ", ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else value


def _handler(service: str, each: dict[str, Any]) -> tuple[object, ...]:
    mode = "inline" if each["inline"] else each["mode"]
    what = (service, each["name"], each["kind"], mode, ", ".join(each["takes"]))
    return (*what, each["retry"]["attempts"], each["timeout_seconds"])


def _message(each: dict[str, Any]) -> tuple[object, ...]:
    channel = f"{each['channel']} (internal)" if each["internal"] else each["channel"]
    return (each["wire"], each["kind"], channel, each["key"], each["class"])


COMMAND = Command(
    name="describe",
    summary="what an app consists of: services, handlers, messages, policies, settings",
    details="Describe an app without starting it: services, handlers, messages, policies and settings (masked).",
    examples=(
        "eventseam describe shop:create",
        "eventseam describe shop:create --json | jq '.services[].name'",
    ),
    arguments=_arguments,
    run=_run,
    exits=(Exit.OK, Exit.USAGE, Exit.WIRING),
)
