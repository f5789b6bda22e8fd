"""Two-phase commit: the rows are in the transaction before it is prepared, and seen when it is committed."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from eventseam import NotInTransaction
from eventseam.testing.servers import postgres
from tests.guests.kinds import to
from tests.guests.shop import Order, OrderPlaced, orders, placed, prepare, published


@pytest.fixture(scope="module")
def url():
    with postgres(settings={"max_prepared_transactions": 4, "fsync": "off"}) as server:
        url = server.database("shop")
        prepare(url)
        yield url


def test_a_session_inserts_before_it_prepares(url):
    engine = create_engine(to(url, "psycopg"), poolclass=NullPool)
    with Session(engine, twophase=True) as session:
        session.add(Order(id="o1", total=1))
        orders.publish(session, OrderPlaced("o1"))
        session.prepare()
        assert [] == published(url)
        with pytest.raises(NotInTransaction, match="failed or is over"):
            orders.publish(session, OrderPlaced("late"))
        session.commit()
        orders.publish(session, OrderPlaced("o2"))
        session.commit()
        session.add(Order(id="o3", total=1))
        orders.publish(session, OrderPlaced("o3"))
        session.prepare()
        session.rollback()
    engine.dispose()
    assert ["o1", "o2"] == published(url)
    assert ["o1"] == placed(url)
