"""What must hold, as scenarios on the real engine and real SQLite: each raises AssertionError when it does not.

A scenario plays in processes that really die, stop or come back. Its docstring is the guarantee; the first word of its
AssertionError (lost, doubled, out of order, …) says how it was broken. tests/teeth/plants.py breaks them one by one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from eventseam import App, Circuit, Ctx, Retry
from eventseam.delivery import engine
from eventseam.ports.probe import CircuitChanged, HandlerFailed, Observation
from tests.teeth import plants
from tests.teeth.shop import Run, audit, check_answers, compare, serve
from tests.teeth.stage import CRASHED, CrashAt, Stage
from tests.teeth.tally import (
    SEEN,
    SEEN_IN_OTHER_WORDS,
    Drawn,
    Plan,
    body,
    check_tally,
    count,
    draw,
    publish,
    settle,
    tallying,
    until,
)

if TYPE_CHECKING:
    from eventseam.clock import Points

ASKED = (("ann", "a1"), ("bob", "b2"), ("ann", "a3"))
TWO_KEYS = tuple((key, number) for number in (1, 2, 3) for key in ("a", "b"))
_ABREAST = 8


# --------------------------------------------------------------------------------------------------------- crashes


def a_crash_at_any_point_changes_nothing(stage: Stage) -> None:
    """G1, G2, G5: the shop crashes once, at each passing of each effect point; restarted, its books are as if never.

    What a caller was told before the crash is in the database right after it.
    """
    _sweep(stage, lambda each, points: serve(each, Run(ASKED, points)), partial(audit, asked=ASKED))


def a_crash_between_two_messages_changes_nothing(stage: Stage) -> None:
    """G2, G3, G5: the same for one service that counts; few points, so that a bug is found quickly."""
    _sweep(stage, _count_once, partial(check_tally, asked=TWO_KEYS))


def a_crash_with_the_inbox_off_changes_nothing(stage: Stage) -> None:
    """The position is exact: with the inbox off, the fenced apply alone keeps the books through a crash.

    One handler per message and service: two that finish apart are told apart by the inbox only.
    """
    with plants.inbox_off():
        _sweep(stage, lambda each, points: serve(each, Run(ASKED, points, apart=True)), partial(audit, asked=ASKED), 3)


def a_crash_with_the_fence_off_changes_nothing(stage: Stage) -> None:
    """With the fence off, the inbox alone keeps the books through a crash."""
    with plants.fence_off():
        _sweep(stage, lambda each, points: serve(each, Run(ASKED, points)), partial(audit, asked=ASKED), 3)


async def _count_once(stage: Stage, points: Points | None) -> None:
    """Publish what is asked for, unless the run before the crash has done so."""
    await count(stage, Plan(points=points), () if stage.rows("SELECT 1 FROM event_outbox") else TWO_KEYS)


def _sweep(
    stage: Stage,
    live: Callable[[Stage, Points | None], Coroutine[Any, Any, None]],
    check: Callable[[Stage], None],
    step: int = 1,
) -> None:
    """Crash a run at every `step`-th passing of a point, several side by side, until a run passes no further point.

    Each crashed run is continued by a process that does not crash, then checked.
    """
    for first in itertools.count(1, _ABREAST * step):
        stages = [stage.aside(number) for number in range(first, first + _ABREAST * step, step)]
        actors = [each.start(partial(live, each, CrashAt(each))) for each in stages]
        crashed = [actor.wait() for actor in actors]
        for each in stages:
            _after_crash(each, check_answers)
        stage.play(partial(_go_on, [partial(live, each, None) for each in stages]))
        for each in stages:
            _after_crash(each, check)
        if not any(crashed):
            assert first > 1, "no run has crashed: the effect points are not passed"
            return


async def _go_on(runs: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Live several lives in one process, each on its own database."""
    await asyncio.gather(*(run() for run in runs))


def _after_crash(stage: Stage, check: Callable[[Stage], None]) -> None:
    """Run a check; its finding also says where the crash was."""
    try:
        check(stage)
    except AssertionError as found:
        raise AssertionError(f"{found} — after a crash at {stage.noted('crash')}") from None


def kill_nine_at_any_moment_changes_nothing(stage: Stage) -> None:
    """G2, G3, G5: kill -9 from outside, between the points too: three kills, then the rest of the orders."""
    asked = [(f"c{number % 4}", f"o{number}-{number % 5}") for number in range(24)]
    for placed in (5, 11, 17):
        actor = stage.start(lambda: serve(stage, Run(asked)))
        stage.wait_for(f"SELECT 1 WHERE (SELECT count(*) FROM orders) >= {placed}")
        actor.kill()
        actor.wait()
        check_answers(stage)
    stage.play(lambda: serve(stage, Run(asked)))
    audit(stage, asked)


# --------------------------------------------------------------------------------------------------------- zombies


def a_zombie_changes_nothing(stage: Stage) -> None:
    """G5: an owner stopped by SIGSTOP inside a handler wakes after another has done its work: it applies nothing."""

    async def stop(event: Drawn, ctx: Ctx) -> None:
        while event == Drawn("a", 2) and not stage.noted("awake"):
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.01)  # noqa: ASYNC251 - lets the thread that writes go on, and nothing else

    zombie = stage.start(lambda: count(stage, Plan(react=stop), TWO_KEYS))
    zombie.wait_stopped()
    while stage.is_locked():  # it was stopped in the middle of a commit: not the case that is meant
        zombie.resume()
        zombie.wait_stopped()
    stage.play(lambda: count(stage, Plan()))
    check_tally(stage, TWO_KEYS)
    stage.note("awake", "now")
    zombie.resume()
    zombie.wait()
    check_tally(stage, TWO_KEYS)


def a_zombie_with_the_inbox_off_changes_nothing(stage: Stage) -> None:
    """The fence alone keeps a zombie out."""
    with plants.inbox_off():
        a_zombie_changes_nothing(stage)


def a_zombie_with_the_fence_off_changes_nothing(stage: Stage) -> None:
    """The inbox alone absorbs what a zombie applies."""
    with plants.fence_off():
        a_zombie_changes_nothing(stage)


# ------------------------------------------------------------------------------------------------------ duplicates


def a_duplicate_is_absorbed(stage: Stage) -> None:
    """G2: copies of a message with its id, close by and far behind, are applied once."""
    twice = [*TWO_KEYS, *reversed(TWO_KEYS), *TWO_KEYS]
    stage.play(lambda: count(stage, Plan(), twice))
    stage.play(lambda: count(stage, Plan(), TWO_KEYS))
    check_tally(stage, TWO_KEYS)


def a_duplicate_of_an_unsettled_message_is_absorbed(stage: Stage) -> None:
    """G2: copies of a message that waits for its next attempt are applied once, with it."""

    async def fail_first(event: Drawn, ctx: Ctx) -> None:
        if event.number == 1 and ctx.attempt <= 2:
            raise ConnectionError("not today")

    twice = [each for each in TWO_KEYS for _ in "12"]
    stage.play(lambda: count(stage, Plan(react=fail_first), twice))
    check_tally(stage, TWO_KEYS)


# ----------------------------------------------------------------------------------------------------------- order


def a_retry_keeps_the_order_of_its_lane(stage: Stage) -> None:
    """G3, G4: what is behind a failing message waits for it, through retries and a restart; other lanes go on."""

    async def fail_twice(event: Drawn, ctx: Ctx) -> None:
        if event == Drawn("a", 2) and ctx.attempt <= 2:
            raise ConnectionError("not today")

    async def fail(event: Drawn, ctx: Ctx) -> None:
        if event == Drawn("a", 2):
            raise ConnectionError("not today")

    async def fail_and_die() -> None:
        async with tallying(stage, Plan(react=fail)).running():
            draw(stage, TWO_KEYS)
            await until(lambda: stage.rows("SELECT 1 FROM unsettled"))
            await until(lambda: stage.rows("SELECT 1 FROM seen WHERE key = 'b' AND number = 3"))
            os._exit(CRASHED)

    later = [("a", 4), ("b", 4), ("a", 5)]
    stage.play(fail_and_die)
    stage.play(lambda: count(stage, Plan(react=fail_twice), later))
    check_tally(stage, [*TWO_KEYS, *later])


def writes_of_a_lane_keep_their_order(stage: Stage) -> None:
    """G3: in one apply, the statements of a lane run in the order in which its handler wrote them."""

    async def write(event: Drawn, ctx: Ctx) -> None:
        one, other = (SEEN, SEEN_IN_OTHER_WORDS) if event.key < "k5" else (SEEN_IN_OTHER_WORDS, SEEN)
        for number, text in enumerate((one, other, one, other), 1):
            ctx.write(text, event.key, number)

    keys = [f"k{number}" for number in range(10)]
    stage.play(lambda: count(stage, Plan(write=write), [(key, 1) for key in keys]))
    check_tally(stage, [(key, number) for key in keys for number in (1, 2, 3, 4)])


def a_message_starts_after_its_predecessor_is_committed(stage: Stage) -> None:
    """A handler that looks things up sees what the message before it in its lane has written."""

    async def look(event: Drawn, ctx: Ctx) -> None:
        seen = stage.rows(f"SELECT count(*) FROM seen WHERE key = '{event.key}'")[0][0]
        if seen != event.number - 1:
            stage.note("blind", f"{event.key}-{event.number} saw {seen} before it")

    stage.play(lambda: count(stage, Plan(react=look), TWO_KEYS))
    assert not stage.noted("blind"), f"blind: {stage.noted('blind')}"
    check_tally(stage, TWO_KEYS)


# -------------------------------------------------------------------------------------------------------- position


def what_is_unfinished_is_not_passed(stage: Stage) -> None:
    """G2, G5: a message that runs while later ones finish is handled again after a crash; they are not."""
    asked = [("slow", 1), *TWO_KEYS, ("slow", 2)]

    async def hang(event: Drawn, ctx: Ctx) -> None:
        if event.key == "slow":
            await asyncio.Event().wait()

    async def crash() -> None:
        async with tallying(stage, Plan(react=hang)).running():
            draw(stage, asked)
            await until(lambda: stage.rows("SELECT 1 WHERE (SELECT count(*) FROM seen) = 6"))
            os._exit(CRASHED)

    stage.play(crash)
    stage.play(lambda: count(stage, Plan()))
    check_tally(stage, asked)


def what_is_finished_is_not_repeated_with_the_inbox_off(stage: Stage) -> None:
    """The position names what is finished beyond its low water: exact without an inbox."""
    with plants.inbox_off():
        what_is_unfinished_is_not_passed(stage)


def a_shutdown_settles_nothing_unfinished(stage: Stage) -> None:
    """G5: a handler that is cancelled by a graceful stop is called again after the restart."""

    async def hang(event: Drawn, ctx: Ctx) -> None:
        if event == Drawn("a", 2):
            stage.note("hangs", "a-2")
            await asyncio.Event().wait()

    async def stop() -> None:
        async with tallying(stage, Plan(react=hang)).running():
            draw(stage, TWO_KEYS)
            await until(lambda: stage.rows("SELECT 1 FROM seen WHERE key = 'b' AND number = 3"))
            await until(lambda: stage.noted("hangs"))

    stage.play(stop)
    stage.play(lambda: count(stage, Plan()))
    check_tally(stage, TWO_KEYS)


# --------------------------------------------------------------------------------------------- failures and wake-up


class _Outage:
    """A service that fails until its circuit has been reopened often enough, or a message has died of it."""

    def __init__(self, reopened: int) -> None:
        self._left = reopened

    @property
    def lasts(self) -> bool:
        return self._left > 0

    def observe(self, observation: Observation) -> None:
        """See ports.probe.Probe."""
        if isinstance(observation, CircuitChanged) and observation.state == "open":
            self._left -= 1
        if isinstance(observation, HandlerFailed) and observation.next_step == "dead":
            self._left = 0


def an_outage_burns_no_attempts(stage: Stage) -> None:
    """G4: an outage longer than all attempts together kills no message; afterwards all are handled, in order."""
    asked = [(f"k{key}", number) for number in (1, 2) for key in range(4)]

    async def through() -> None:
        outage = _Outage(reopened=20)

        async def fail(event: Drawn, ctx: Ctx) -> None:
            if outage.lasts:
                raise ConnectionError("payments is down")

        retry = Retry(attempts=3, first_seconds=0.005, max_seconds=0.01, jitter=0)
        circuit = Circuit(failures=2, probe_seconds=0.005, probe_seconds_max=0.01)
        await count(stage, Plan(react=fail, retry=retry, circuit=circuit, probe=outage), asked)

    stage.play(through)
    dead = stage.rows("SELECT lane, attempts, error_message FROM unsettled WHERE state = 'dead'")
    assert not dead, f"burnt: an outage has killed {dead}"
    check_tally(stage, asked)


def an_apply_error_calls_nobody_again(stage: Stage) -> None:
    """G2: a record that cannot be applied is its own message's failure; the neighbours' handlers are called once."""
    asked = [(f"k{number}", 1) for number in range(12)]
    spoilt = Counter[str]()

    async def write(event: Drawn, ctx: Ctx) -> None:
        stage.note("calls", event.key)
        spoilt[event.key] += 1
        is_bad = event.key == "k5" and spoilt[event.key] == 1
        ctx.write(SEEN, event.key, -1 if is_bad else event.number)

    stage.play(lambda: count(stage, Plan(write=write), asked))
    calls = Counter(stage.noted("calls"))
    again = {key: times for key, times in calls.items() if times != 1 + (key == "k5")}
    assert not again, f"called again: {again}"
    check_tally(stage, asked)


def a_dead_letter_is_kept_whole(stage: Stage) -> None:
    """G4: bytes that nobody can decode become a dead letter with cause and raw bytes; only their own lane waits."""
    poison = b'{"key": "p", "number": \xff\x00\xfe'
    rows = [("p", poison, "p-1"), *((key, body(key, number), f"{key}-{number}") for key, number in TWO_KEYS)]

    async def live() -> None:
        app = tallying(stage, Plan())
        async with app.running():
            publish(stage, rows)
            await settle(stage, app)
            publish(stage, [("p", body("p", 2), "p-2")])
            await settle(stage, app)

    stage.play(live)
    kept = stage.rows("SELECT message_id, state, error_class, body FROM unsettled ORDER BY id")
    assert ["dead", "waiting"] == [row[1] for row in kept], f"lost: of a dead letter and its follower remain {kept}"
    assert poison == kept[0][3], f"not whole: a dead letter's bytes {poison!r} were kept as {kept[0][3]!r}"
    assert "Undecodable" == kept[0][2], f"without cause: {kept[0]}"
    compare("seen", stage.rows("SELECT key, number FROM seen ORDER BY id"), TWO_KEYS)


def a_commit_wakes_the_readers(stage: Stage) -> None:
    """A commit of this process wakes its readers at once, also between a reader's look and its wait.

    Polling is made so rare that only the hint can do it.
    """

    async def live() -> None:
        app = tallying(stage, Plan())
        with plants.swapped((engine, "_POLL_FIRST_SECONDS", 3_600.0), (engine, "_POLL_MAX_SECONDS", 3_600.0)):
            async with app.running():
                _publish_after_an_empty_look(app, Drawn("a", 2))
                await app.publish(app.services[0], Drawn("a", 1))
                try:
                    async with asyncio.timeout(3):
                        await until(lambda: stage.rows("SELECT 1 FROM seen WHERE number = 2"))
                except TimeoutError:
                    stage.note("asleep", "for three seconds")

    stage.play(live)
    assert not stage.noted("asleep"), "asleep: a message was committed and nobody woke the reader"
    check_tally(stage, [("a", 1), ("a", 2)])


def _publish_after_an_empty_look(app: App, event: Drawn) -> None:
    """After the first message was read, the next look that finds nothing is followed by a commit before it returns."""
    store: Any = app._room.store  # type: ignore[union-attr]
    read, waiting = store.read, [event]
    has_read = False

    async def look(operation: Any) -> Any:
        nonlocal has_read
        page = await read(operation)
        if operation.__qualname__.startswith("JournalSource."):
            has_read = has_read or bool(page[0])
            if has_read and not page[0] and waiting:
                await app.publish(app.services[0], waiting.pop())
        return page

    store.read = look
