"""The types of the decorators: they compare a handler with what was declared, and give the same function back.

What a checker rejects here (tests/typing/rejected.py): the wrong message, a dependency that the service lacks, the
wrong kind of transaction, one event of two, an event where a list comes, an event handler that answers. The overload
with a context comes first, because mypy reports against the first.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from eventseam.app.ctx import Ctx
from eventseam.app.tx import SyncTx, Tx

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault  # its `default` is for checkers only

    D = TypeVarWithDefault("D", default=object)
else:
    D = TypeVar("D")

M = TypeVar("M")
R = TypeVar("R")
N = TypeVar("N", bound="Coroutine[Any, Any, None] | None")
"""What an event handler returns: nothing, in either colour."""

AsyncCommandHandler: TypeAlias = (
    Callable[[M, Ctx[Any]], Coroutine[Any, Any, R]]
    | Callable[[M, Tx[Any]], Coroutine[Any, Any, R]]
    | Callable[[M], Coroutine[Any, Any, R]]
)
"""An `async def` command handler as its decorator returned it. `App.call` reads message and answer from it."""

BlockingCommandHandler: TypeAlias = Callable[[M, Ctx[Any]], R] | Callable[[M, SyncTx[Any]], R] | Callable[[M], R]
"""A `def` command handler as its decorator returned it. In overloads it comes after the async one."""


class _Decorator(Generic[M, D]):
    """Remembers what to do with the function."""

    __slots__ = ("_add",)

    def __init__(self, add: Callable[[Callable[..., Any]], None]) -> None:
        self._add = add

    def _added(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self._add(function)
        return function


class Handle(_Decorator[M, D]):
    """Takes `(command, ctx)` or `(command)`, def or async def, with any answer."""

    __slots__ = ()

    @overload
    def __call__(self, function: Callable[[M, Ctx[D]], R], /) -> Callable[[M, Ctx[D]], R]: ...
    @overload
    def __call__(self, function: Callable[[M], R], /) -> Callable[[M], R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Declare `function`. Raises WiringError."""
        return self._added(function)


class On(_Decorator[M, D]):
    """Takes `(event, ctx)` or `(event)`, def or async def, without an answer."""

    __slots__ = ()

    @overload
    def __call__(self, function: Callable[[M, Ctx[D]], N], /) -> Callable[[M, Ctx[D]], N]: ...
    @overload
    def __call__(self, function: Callable[[M], N], /) -> Callable[[M], N]: ...
    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Declare `function`. Raises WiringError."""
        return self._added(function)


class OnBatch(_Decorator[M, D]):
    """Takes `(list of events, ctx)` or `(list of events)`, def or async def, without an answer."""

    __slots__ = ()

    @overload
    def __call__(self, function: Callable[[list[M], Ctx[D]], N], /) -> Callable[[list[M], Ctx[D]], N]: ...
    @overload
    def __call__(self, function: Callable[[list[M]], N], /) -> Callable[[list[M]], N]: ...
    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Declare `function`. Raises WiringError."""
        return self._added(function)


class HandleTx(_Decorator[M, D]):
    """Takes `async def (command, tx: Tx)` with any answer, or `def (command, tx: SyncTx) -> None`.

    A `def` answers nothing, because otherwise checkers would take an `async def` with SyncTx for one.
    """

    __slots__ = ()

    @overload
    def __call__(
        self, function: Callable[[M, Tx[D]], Coroutine[Any, Any, R]], /
    ) -> Callable[[M, Tx[D]], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[[M, SyncTx[D]], None], /) -> Callable[[M, SyncTx[D]], None]: ...
    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Declare `function`. Raises WiringError."""
        return self._added(function)


class OnTx(_Decorator[M, D]):
    """Takes `async def (event, tx: Tx) -> None` or `def (event, tx: SyncTx) -> None`."""

    __slots__ = ()

    @overload
    def __call__(
        self, function: Callable[[M, Tx[D]], Coroutine[Any, Any, None]], /
    ) -> Callable[[M, Tx[D]], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(self, function: Callable[[M, SyncTx[D]], None], /) -> Callable[[M, SyncTx[D]], None]: ...
    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """Declare `function`. Raises WiringError."""
        return self._added(function)
