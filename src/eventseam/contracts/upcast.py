"""Upcasts: how an old version of a message becomes the next one, so that handlers see the newest version only.

Chains are followed by the registry. A chain only rises, so it always ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from eventseam.contracts.message import declared_type
from eventseam.errors import WiringError

if TYPE_CHECKING:
    from collections.abc import Callable

A = TypeVar("A")
B = TypeVar("B")


def upcast(old: type[A], new: type[B]) -> Callable[[Callable[[A], B]], Callable[[A], B]]:
    """Declare the function that makes a `new` from an `old`: a later version of the same name on the same channel.

    The function must be pure; it runs each time an old message is read. Raises WiringError where the two do not belong
    together or `old` has an upcast already.
    """

    def identity(function: Callable[[A], B]) -> Callable[[A], B]:
        before, after = declared_type(old), declared_type(new)
        title = f"upcast({old.__name__}, {new.__name__})"
        if before is None or after is None:
            missing = old if before is None else new
            raise WiringError(f"{title}: {missing.__name__} is not declared. Declare it on a channel first.")
        if before.channel is not after.channel or before.name != after.name or before.kind != after.kind:
            raise WiringError(
                f"{title}: '{before.name}' on '{before.channel.name}' and '{after.name}' on '{after.channel.name}' are "
                "different messages. Upcast between versions of one."
            )
        if after.version <= before.version:
            raise WiringError(f"{title}: version {before.version} to {after.version}. Upcast to a later version.")
        if before.successor is not None:
            raise WiringError(f"{title}: {old.__name__} becomes {before.successor[0].__name__} already. Keep one.")
        before.successor = (new, function)
        return function

    return identity
