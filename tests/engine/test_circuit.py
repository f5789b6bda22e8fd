"""A handler whose lanes fail alike is paused and probed: an outage burns no attempts and loses nothing."""

from __future__ import annotations

import asyncio

from eventseam import Circuit, Ctx, NotYet, Refused, Retry, SyncTx
from eventseam.ports.probe import CircuitChanged, HandlerFailed
from tests.support.file import heard, insert, query, unsettled
from tests.support.run import running, seen, until
from tests.support.talk import HEARD, PATIENT, Echoed, Said, ears, hear

QUICK_CIRCUIT = Circuit(failures=3, probe_seconds=0.02, probe_seconds_max=0.05)
TWO = Retry(attempts=2, first_seconds=0.02, max_seconds=0.05, jitter=0.0)


def _states(app):
    return [each.state for each in seen(app).of(CircuitChanged)]


async def test_an_outage_opens_the_circuit_burns_no_attempts_and_ends_with_everything_applied_once(tmp_path):
    down, calls = True, 0
    service = ears()

    @service.on(Said, retry=TWO, circuit=QUICK_CIRCUIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        nonlocal calls
        calls += 1
        if down:
            raise ConnectionError("payments is down")
        hear(ctx, message)

    async with running(tmp_path / "db", service, workers=4) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(40)])
        await until(lambda: _states(app).count("probing") >= 6)
        assert "open" == next(iter(_states(app)))
        assert calls <= 3 + 4 + len(_states(app))
        assert 1 >= max(attempts for *_, attempts in unsettled(tmp_path / "db"))
        assert 40 == len(unsettled(tmp_path / "db"))
        down = False
        await app.wait_idle()
        assert "closed" == _states(app)[-1]
    assert list(range(40)) == sorted(heard(tmp_path / "db"))
    assert [] == unsettled(tmp_path / "db")


async def test_what_comes_during_an_outage_keeps_its_order(tmp_path):
    down = True
    service = ears()

    @service.on(Said, retry=TWO, circuit=QUICK_CIRCUIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if down:
            raise ConnectionError("payments is down")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        for n in range(6):
            await app.publish(service, *[Said(f"k{key}", n) for key in range(5)])
            await until(lambda n=n: len(unsettled(tmp_path / "db")) == 5 * (n + 1))
        down = False
        await app.wait_idle()
    for key in range(5):
        assert list(range(6)) == heard(tmp_path / "db", who=f"k{key}")


async def test_a_tx_handler_has_a_circuit_too(tmp_path):
    down = True
    service = ears()

    @service.on_tx(Said, retry=TWO, circuit=QUICK_CIRCUIT)
    def on_said(message: Said, tx: SyncTx) -> None:
        if down:
            raise ConnectionError("payments is down")
        tx.execute(HEARD, "hear", message.who, message.n)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(20)])
        await until(lambda: _states(app).count("probing") >= 3)
        down = False
        await app.wait_idle()
    assert list(range(20)) == sorted(heard(tmp_path / "db"))
    assert [] == unsettled(tmp_path / "db")


async def test_one_handlers_outage_does_not_concern_the_others(tmp_path):
    service = ears()

    @service.on(Said, retry=TWO, circuit=QUICK_CIRCUIT)
    async def down(message: Said, ctx: Ctx) -> None:
        raise ConnectionError("payments is down")

    @service.on(Said)
    async def up(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(20)])
        await until(lambda: len(heard(tmp_path / "db")) == 20)


async def test_different_errors_do_not_trip_the_circuit(tmp_path):
    service = ears()

    @service.on(Said, retry=TWO, circuit=QUICK_CIRCUIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        raise (ValueError, KeyError, TypeError)[message.n % 3](message.who)

    async with running(tmp_path / "db", service, workers=1) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(9)])
        await app.wait_idle()
        assert [] == _states(app)
    assert {("dead", 2)} == {(state, attempts) for _, _, state, attempts in unsettled(tmp_path / "db")}


async def _probed_with(tmp_path, outcome):
    """Trip a circuit, then let each further call end as `outcome` says; wait until everything is settled."""
    down = True
    service = ears()

    @service.on(Said, retry=PATIENT, circuit=QUICK_CIRCUIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if down:
            raise ConnectionError("payments is down")
        outcome(message, ctx)
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(6)])
        await until(lambda: "open" in _states(app) and len(unsettled(tmp_path / "db")) == 6)
        down = False
        await app.wait_idle()
        return app


async def test_a_probe_that_says_not_yet_does_not_leave_the_circuit_waiting_for_ever(tmp_path):
    early = {f"k{n}" for n in range(6)}

    def outcome(message, ctx):
        if message.who in early:
            early.discard(message.who)
            raise NotYet("a little later")

    await _probed_with(tmp_path, outcome)
    assert list(range(6)) == sorted(heard(tmp_path / "db"))


async def test_a_probe_that_refuses_closes_the_circuit(tmp_path):
    def outcome(message, ctx):
        if message.n % 2:
            raise Refused(Echoed(message.who))

    app = await _probed_with(tmp_path, outcome)
    assert [0, 2, 4] == sorted(heard(tmp_path / "db"))
    assert "closed" == _states(app)[-1]


async def test_a_tx_probe_that_refuses_closes_the_circuit(tmp_path):
    down = True
    service = ears()

    @service.on_tx(Said, retry=PATIENT, circuit=QUICK_CIRCUIT)
    def on_said(message: Said, tx: SyncTx) -> None:
        if down:
            raise ConnectionError("payments is down")
        raise Refused(Echoed(message.who))

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(6)])
        await until(lambda: "open" in _states(app) and len(unsettled(tmp_path / "db")) == 6)
        down = False
        await app.wait_idle()
        assert "closed" == _states(app)[-1]


async def test_a_probe_that_cannot_be_decoded_does_not_leave_the_circuit_waiting_for_ever(tmp_path):
    down = True
    service = ears()

    @service.on(Said, retry=PATIENT, circuit=QUICK_CIRCUIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if down:
            raise ConnectionError("payments is down")
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(4)])
        await until(lambda: "open" in _states(app))
        for n in range(20):
            insert(tmp_path / "db", f"bad{n}", '"no message"')
        await until(lambda: [state for _, _, state, _ in unsettled(tmp_path / "db")].count("dead") == 20)
        down = False
        await app.wait_idle()
    assert [0, 1, 2, 3] == sorted(heard(tmp_path / "db"))


async def test_a_probe_that_is_discarded_while_it_runs_does_not_leave_the_circuit_waiting_for_ever(tmp_path):
    down, release, probing = True, asyncio.Event(), asyncio.Event()
    service = ears()

    @service.on(Said, retry=PATIENT, circuit=QUICK_CIRCUIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        if down:
            raise ConnectionError("payments is down")
        probing.set()
        await release.wait()
        hear(ctx, message)

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, *[Said(f"k{n}", n) for n in range(6)])
        await until(lambda: "open" in _states(app) and len(unsettled(tmp_path / "db")) == 6)
        down = False
        await probing.wait()
        query(tmp_path / "db", "DELETE FROM unsettled WHERE lane IN ('k0', 'k1')")
        release.set()
        await app.wait_idle()
    assert 4 <= len(heard(tmp_path / "db"))


async def test_a_circuit_opens_by_calls_of_different_lanes_only(tmp_path):
    service = ears()

    @service.on(Said, retry=Retry(attempts=6, first_seconds=0.01, max_seconds=0.02), circuit=QUICK_CIRCUIT)
    async def on_said(message: Said, ctx: Ctx) -> None:
        raise ValueError("poison")

    async with running(tmp_path / "db", service) as app:
        await app.publish(service, Said("ann"))
        await app.wait_idle()
        assert 6 == len(seen(app).of(HandlerFailed))
        assert [] == _states(app)
