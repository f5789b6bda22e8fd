"""The seams: ids are UUIDv7, unique in every thread; effect points are nothing unless somebody listens."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from eventseam import Seams
from eventseam.clock import Clock, SystemClock, SystemRandom, Uuid7Ids, traceparent


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front():
    before = time.time_ns() // 1_000_000
    parsed = uuid.UUID(Uuid7Ids().new())
    after = time.time_ns() // 1_000_000
    assert (7, uuid.RFC_4122) == (parsed.version, parsed.variant)
    assert before <= parsed.int >> 80 <= after


def test_an_id_is_written_in_the_canonical_form():
    ids = Uuid7Ids()
    for _ in range(1_000):
        text = ids.new()
        assert text == str(uuid.UUID(text))


def test_ids_are_nearly_in_order_of_creation():
    ids = Uuid7Ids()
    one = ids.new()
    time.sleep(0.003)
    assert one < ids.new()


def test_ids_are_unique_in_every_thread():
    ids, found = Uuid7Ids(), []

    def make():
        found.append([ids.new() for _ in range(5_000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 40_000 == len({each for part in found for each in part})


def test_two_sources_of_ids_do_not_repeat_each_other():
    one, other = Uuid7Ids(), Uuid7Ids()
    assert 2_000 == len({ids.new() for _ in range(1_000) for ids in (one, other)})


def test_a_forked_process_does_not_repeat_the_ids_of_its_parent(monkeypatch):
    parent = Uuid7Ids()
    parent.new()
    child = copy.deepcopy(parent)  # what a fork does to it
    monkeypatch.setattr(os, "getpid", lambda: -1)
    made = child.new()
    monkeypatch.undo()
    assert parent.new()[-12:] != made[-12:]


async def test_the_system_clock_is_aware_and_never_goes_backwards():
    clock = SystemClock()
    assert isinstance(clock, Clock)
    assert timedelta(seconds=1) > abs(datetime.now(UTC) - clock.now())
    began = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.009


def test_chance_is_within_zero_and_one():
    chance = SystemRandom()
    assert all(0 <= chance.random() < 1 for _ in range(1_000))


def test_an_effect_point_reaches_the_listener_and_may_raise():
    class Bomb:
        def at(self, point):
            raise RuntimeError(point)

    Seams().at("begin")
    with pytest.raises(RuntimeError, match="pre-commit"):
        Seams(points=Bomb()).at("pre-commit")


def test_a_trace_context_has_the_form_of_w3c():
    assert f"00-{'a' * 32}-{'b' * 16}-00" == traceparent("a" * 32, "b" * 16)


async def test_a_sleep_that_is_cancelled_ends():
    sleeping = asyncio.ensure_future(SystemClock().sleep(60))
    await asyncio.sleep(0)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
