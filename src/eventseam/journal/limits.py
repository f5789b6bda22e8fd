"""Limits at publish: a channel that its readers cannot keep up with slows or refuses its publishers.

`pending_max` counts journal rows of the channel that the slowest reader has not finished; `per_second` is a bucket of
tokens in this process. Counts are taken at most every 50 ms, so a limit may be overshot by what 50 ms can publish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventseam.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from eventseam.clock import Clock
    from eventseam.contracts.channel import Limit
    from eventseam.ports.sql import Sql, Store

_COUNT_EVERY_SECONDS = 0.05
_LOOK_AGAIN_SECONDS = 0.02


async def pending(sql: Sql, channel: str, readers: Iterable[str], bound: int) -> int:
    """Rows of `channel` that the slowest of `readers` has not finished; exact from `bound` on, else no fewer."""
    listening = sorted(readers)
    at_most: int = (await sql.rows("pending_at_most", listening))[0][0]
    if at_most < bound:  # nearly always: nothing has to be counted
        return at_most
    found: int = (await sql.rows("pending_of_channel", channel, listening, bound))[0][0]
    return found


class Bucket:
    """A token bucket: `per_second` on average, one second's worth at once."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        """Begin full."""
        self._rate = per_second
        self._clock = clock
        self._tokens = max(1.0, per_second)
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Take one token if there is one."""
        now = self._clock.monotonic()
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Limits:
    """The limits of an app's channels. `readers` tells, per channel, which services listen to it."""

    def __init__(
        self, store: Store, clock: Clock, limits: Mapping[str, Limit], readers: Callable[[str], set[str]]
    ) -> None:
        """Watch the channels that have a limit."""
        self._store = store
        self._clock = clock
        self._limits = dict(limits)
        self._readers = readers
        self._counts: dict[str, tuple[float, int]] = {}
        self._buckets = {name: Bucket(limit.per_second, clock) for name, limit in limits.items() if limit.per_second}

    def __contains__(self, channel: str) -> bool:
        """Whether a channel has a limit."""
        return channel in self._limits

    async def wait(self, channel: str) -> bool:
        """Wait until `channel` takes one more message, at most its `wait_seconds`; False if it still does not."""
        limit = self._limits.get(channel)
        if limit is None:
            return True
        gives_up = self._clock.monotonic() + limit.wait_seconds
        while not await self._has_room(channel, limit):
            if self._clock.monotonic() >= gives_up:
                return False
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)
        return True

    async def demand(self, channels: Iterable[str], *, patiently: bool = True) -> None:
        """Raise Overloaded, naming the channel and its limit, unless every channel takes one more message.

        `patiently` waits for that; whoever holds a lock that the readers need must not.
        """
        for channel in sorted(set(channels)):
            limit = self._limits.get(channel)
            if limit and not await (self.wait(channel) if patiently else self._has_room(channel, limit)):
                raise Overloaded(overloaded(channel, limit))

    async def _has_room(self, channel: str, limit: Limit) -> bool:
        if limit.pending_max is not None and await self._pending(channel, limit.pending_max) >= limit.pending_max:
            return False
        bucket = self._buckets.get(channel)
        return bucket is None or bucket.take()

    async def _pending(self, channel: str, bound: int) -> int:
        at, count = self._counts.get(channel, (float("-inf"), 0))
        now = self._clock.monotonic()
        if now - at < _COUNT_EVERY_SECONDS:
            return count
        readers = self._readers(channel)
        count = await self._store.read(lambda sql: pending(sql, channel, readers, bound)) if readers else 0
        self._counts[channel] = (now, count)
        return count


def overloaded(channel: str, limit: Limit) -> str:
    """What Overloaded says."""
    return f"channel {channel!r} is at its limit ({limit}): nothing was published. Try again later, or raise the limit"
