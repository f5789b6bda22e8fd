"""A handler as its decorator stated it, checked there: what a function shows to be wrong is a WiringError at once.

Annotations are read to find a mistake earlier, never to run: a handler without any works the same.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from eventseam.contracts.message import MessageType, message_type
from eventseam.delivery.circuit import Circuit
from eventseam.delivery.handler import Mode
from eventseam.delivery.policy import Retry
from eventseam.errors import ContractError, WiringError

Kind = Literal["event", "command"]

SERVICE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
HANDLER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


TX_TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS_LIMIT = 86_400.0


class Policies(TypedDict, total=False):
    """The options that every handler decorator takes."""

    name: str
    retry: Retry
    circuit: Circuit
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Options:
    """A handler's policies. `name` is what tables and the command line call it: the function's own by default.

    A renamed handler is another handler: what is unsettled stays under the old name.
    """

    name: str | None = None
    retry: Retry = field(default_factory=Retry)
    circuit: Circuit = field(default_factory=Circuit)
    timeout_seconds: float = 30.0
    batch_max: int = 1

    def __post_init__(self) -> None:
        """Raise WiringError for options that cannot be followed."""
        if not 0 < self.timeout_seconds <= TIMEOUT_SECONDS_LIMIT:
            raise WiringError(
                f"timeout_seconds={self.timeout_seconds} must be > 0 and at most {TIMEOUT_SECONDS_LIMIT:.0f} (a day)"
            )
        if self.batch_max < 1:
            raise WiringError(f"max={self.batch_max} must be >= 1")
        if self.name is not None and not HANDLER_NAME.fullmatch(self.name):
            raise WiringError(f"name={self.name!r} must be letters, digits, _ and -, at most 63, not a digit first")


def tx_options(policies: Policies) -> Options:
    """Options of a transaction handler: it holds locks while it runs, so its time-out is short unless it says so."""
    timed: Policies = {"timeout_seconds": TX_TIMEOUT_SECONDS}
    timed.update(policies)
    return Options(**timed)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a decorator stated: `on(OrderPlaced)` of service `orders` is verb "on" and kind "event"."""

    service: str
    verb: str
    kind: Kind
    mode: Mode
    types: tuple[MessageType[Any], ...]
    options: Options
    inline: bool = False

    @property
    def text(self) -> str:
        """The decorator as it stands in the code, for error messages."""
        return f"{self.service}.{self.verb}({', '.join(known.cls.__name__ for known in self.types)})"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A checked handler. `place` names it in errors: function, module and line."""

    declared: Declared
    name: str
    function: Callable[..., Any]
    place: str
    takes_ctx: bool
    is_async: bool

    @property
    def types(self) -> tuple[MessageType[Any], ...]:
        """The message types that the decorator named."""
        return self.declared.types

    @property
    def mode(self) -> Mode:
        """record, tx or batch."""
        return self.declared.mode

    @property
    def kind(self) -> Kind:
        """What it handles: events, or a command."""
        return self.declared.kind

    @property
    def inline(self) -> bool:
        """Whether it runs inside the record of whoever published."""
        return self.declared.inline

    @property
    def options(self) -> Options:
        """The handler's policies."""
        return self.declared.options


def types_of(classes: tuple[type[Any], ...], kind: Kind, decorator: str) -> tuple[MessageType[Any], ...]:
    """The declared message types of `classes`. Raises WiringError for a class that is none, or of the other kind."""
    if not classes:
        raise WiringError(f"{decorator}() names no message type. Say which: {decorator}(OrderPlaced).")
    types = tuple(_type_of(cls, kind, decorator) for cls in classes)
    if len({known.wire for known in types}) < len(types):
        raise WiringError(f"{decorator}({', '.join(cls.__name__ for cls in classes)}) names a type twice.")
    return types


def _type_of(cls: type[Any], kind: Kind, decorator: str) -> MessageType[Any]:
    try:
        known = message_type(cls)
    except ContractError as error:
        name = getattr(cls, "__name__", repr(cls))
        raise WiringError(
            f"{decorator}({name}): {name} is not declared on a channel. "
            f'Decorate the class with @channel.{kind}("its.name").'
        ) from error
    if known.kind != kind:
        fix = "on() or on_tx()" if known.kind == "event" else "handle() or handle_tx()"
        raise WiringError(f"{decorator}({cls.__name__}): {cls.__name__} is declared as {known.kind}. Use {fix}.")
    return known


def declaration(declared: Declared, function: Callable[..., Any]) -> Declaration:
    """Check a function against what its decorator stated. Raises WiringError that names both, and the fix."""
    place = _place(function)
    where = f"@{declared.text} on {place}"
    _check_callable(function, where)
    count = _parameters(function, where)
    is_async = _is_async(function)
    if declared.mode == "tx":
        _check_tx(function, where, count=count, is_async=is_async)
    else:
        _check_recorded(function, where)
    name = declared.options.name or _name(function, where)
    return Declaration(declared, name, function, place, takes_ctx=count > 1, is_async=is_async)


def _check_callable(function: Callable[..., Any], where: str) -> None:
    if inspect.isclass(function):
        raise WiringError(f"{where}: a handler is a function. Decorate a def or an async def.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise WiringError(f"{where}: it uses yield, so calling it would do nothing. Publish with ctx.publish(...).")


def _parameters(function: Callable[..., Any], where: str) -> int:
    """How many arguments the handler gets: the message alone, or the message and its context."""
    given = list(inspect.signature(function).parameters.values())
    positional = [each for each in given if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = [each for each in given if each.default is each.empty and each not in positional[:2]]
    if not positional or needed:
        raise WiringError(f"{where}: a handler takes the message, or the message and its context; {len(given)} given.")
    return min(len(positional), 2)


def _check_tx(function: Callable[..., Any], where: str, *, count: int, is_async: bool) -> None:
    colour = "Tx" if is_async else "SyncTx"
    if count != 2:  # noqa: PLR2004 - message and tx
        raise WiringError(f"{where}: it must take (message, tx: {colour}). Without tx, use on() or handle().")
    asked = context_name(function)
    if asked == "Ctx":
        raise WiringError(
            f"{where}: it asks for Ctx but gets a transaction. Annotate tx: {colour}, or use on()/handle()."
        )
    if asked in ("Tx", "SyncTx") and asked != colour:
        form, other = ("an async def", "a def") if is_async else ("a def", "an async def")
        raise WiringError(f"{where}: {form} gets {colour}, not {asked}. Annotate tx: {colour}, or make it {other}.")


def _check_recorded(function: Callable[..., Any], where: str) -> None:
    asked = context_name(function)
    if asked in ("Tx", "SyncTx"):
        raise WiringError(f"{where}: it asks for {asked} but records with Ctx. Use on_tx()/handle_tx(), or ctx: Ctx.")


def context_name(function: Callable[..., Any]) -> str:
    """The bare name of the second parameter's annotation (`Ctx`, `Tx`, `SyncTx`, …), or "" where there is none."""
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) < 2 or parameters[1].annotation is inspect.Parameter.empty:  # noqa: PLR2004 - the second
        return ""
    asked: object = parameters[1].annotation
    text = asked if isinstance(asked, str) else getattr(getattr(asked, "__origin__", asked), "__name__", "")
    return str(text).strip("'\"").partition("[")[0].rpartition(".")[2].strip()


def _is_async(function: Callable[..., Any]) -> bool:
    call: object = getattr(function, "__call__", None)  # noqa: B004 - an instance whose __call__ is async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _name(function: Callable[..., Any], where: str) -> str:
    name = getattr(function, "__name__", "")
    if not HANDLER_NAME.fullmatch(name):
        raise WiringError(f'{where}: it has no usable name ({name or "none"!r}). Pass name="..." to the decorator.')
    return str(name)


def _place(function: Callable[..., Any]) -> str:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", type(inner).__name__).replace("<locals>.", "")
    line = f":{code.co_firstlineno}" if code else ""
    return f"{name}() ({getattr(inner, '__module__', '?')}{line})"
