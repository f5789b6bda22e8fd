"""One error tree: every error that Eventseam raises on purpose, each with its cause and the fix in the message.

`EventseamError` is the root of what goes wrong. `Refused` and `NotYet` are not failures but answers that a handler
gives; they live here so that a handler needs one import.
"""

from __future__ import annotations

import math


class EventseamError(Exception):
    """The root of all errors raised on purpose. Catch it to catch them all."""


class WiringError(EventseamError):
    """The app is put together wrongly: raised while it is declared or started, never once per message."""


class SettingsError(EventseamError):
    """A setting (URL, environment variable, option) cannot be used. The message never contains a secret."""


class MissingExtraError(EventseamError):
    """An optional dependency is not installed. The message names the extra that brings it."""


class ContractError(EventseamError):
    """A message and its declared contract do not fit."""


class UnknownType(ContractError):  # noqa: N818 - the name is the finding, as users read it in `dlq show`
    """A type name and version that the closed registry does not hold."""


class Undecodable(ContractError):  # noqa: N818 - see UnknownType
    """Bytes, headers or fields that are not what the declared type says."""


class TooLarge(ContractError):  # noqa: N818 - see UnknownType
    """A body, a header set or a nesting depth beyond its cap. Raised before anything is decoded."""


class Overloaded(EventseamError):  # noqa: N818 - users answer it with "503 Overloaded"
    """A channel's `Limit` is reached: nothing was published. Try again later; web code answers 503."""


class LaneParked(EventseamError):  # noqa: N818 - a state of the lane, not a fault of the caller
    """A command was called whose lane waits behind an unsettled message. See `eventseam dlq list`."""


class HandlerTimeout(EventseamError):  # noqa: N818 - reads as the cause in `dlq show`
    """A handler ran longer than its `timeout_seconds`; its record was dropped, the attempt counts as failed."""


class Fenced(EventseamError):  # noqa: N818 - the field's word for an owner that lost its lease
    """Another owner has taken over: nothing of this transaction was applied."""


class StorageError(EventseamError):
    """The database refuses work for a reason that is not the message's. The message names the fix."""


class StorageUnavailable(StorageError):  # noqa: N818 - a state that ends by itself
    """The database cannot work now (full disk, locked, gone). Nothing was applied; the engine tries again."""

    is_of_ours = False
    """Whether a table of Eventseam is missing or out of reach, which is no message's fault."""


class CursorLost(StorageError):  # noqa: N818 - says what happened
    """The connection on which positions were loaded is gone: they must be loaded again. The engine does so itself."""


class OutcomeUnknown(StorageError):  # noqa: N818 - the third outcome of a commit or a publish
    """A commit or publish may or may not have happened. Repeat it with the same ids; the inbox absorbs a repeat."""


class NotInTransaction(EventseamError):  # noqa: N818 - says what is missing
    """An event was published outside a transaction: it could be lost or be a lie. The message shows what to write."""


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """Raised by a handler that refuses its message: its writes are undone, `event` is published, the message settled.

    No attempt is burnt and nothing is retried. A caller that awaits the answer (`App.call`) receives this exception.
    """

    def __init__(self, event: object) -> None:
        """Keep the event that says why."""
        super().__init__(f"refused with {type(event).__name__}")
        self.event = event


class NotYet(Exception):  # noqa: N818 - an answer, not an error
    """Raised by a handler whose message came early: it waits in its lane and burns no attempt.

    It is tried again with the handler's backoff until `within_seconds` (default 3,600) have passed since the message
    first waited; then it becomes a dead letter like any other. Raises ValueError for a time that never ends.
    """

    def __init__(self, why: str, *, within_seconds: float = 3_600.0) -> None:
        """Keep what the message waits for, in the words that `dlq list` will show."""
        super().__init__(why)
        self.why = why
        self.within_seconds = float(within_seconds)
        if not math.isfinite(self.within_seconds):
            raise ValueError(
                f"NotYet({why!r}, within_seconds={within_seconds}): give a number of seconds, or leave it out"
            )
