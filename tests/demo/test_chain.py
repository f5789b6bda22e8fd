"""The chain decides as the rules say while all is up, and fails its customers while one service is down."""

from __future__ import annotations

import threading
from http import HTTPStatus

import pytest

from eventseam.demo.chain.http import Peer, Reply, ServiceDown, serving
from eventseam.demo.chain.services import chain
from eventseam.demo.generate import generate
from eventseam.demo.outside import opened

ORDERS = generate(1, 60)


@pytest.fixture
def outside(tmp_path):
    with opened(str(tmp_path / "outside")) as file:
        file.prepare(
            [o.place.order_id for o in ORDERS if o.status == "unavailable"],
            [o.place.order_id for o in ORDERS if o.status == "canceled"],
        )
        yield file


def told(first, order):
    reply = first.post("/place", order.place)
    return "confirmed" if reply.status == HTTPStatus.OK else reply.body.decode()


def test_every_customer_is_told_what_the_rules_say(outside):
    with chain(outside) as first:
        for order in ORDERS:
            assert order.outcome in told(first, order)


def test_in_an_outage_a_customer_gets_an_error_and_nothing_is_charged(outside):
    paying = next(order for order in ORDERS if order.outcome == "confirmed")
    outside.begin_outage(0.0)
    with chain(outside) as first:
        with pytest.raises(ServiceDown):
            first.post("/place", paying.place)
        assert [] == outside.charges("%")
        outside.end_outage(1.0)
        assert "confirmed" == told(first, paying)


def test_a_service_that_is_not_there_is_down():
    with serving({}) as port:
        pass
    with pytest.raises(ServiceDown):
        Peer(port).post("/place", ORDERS[0].place)


def test_a_service_that_is_too_slow_is_down():
    end = threading.Event()

    def slow(_body):
        end.wait(5)
        return Reply(HTTPStatus.OK)

    with serving({"/slow": slow}) as port:
        with pytest.raises(ServiceDown):
            Peer(port, timeout_seconds=0.05).post("/slow", ORDERS[0].place)
        end.set()
