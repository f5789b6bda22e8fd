"""A SQLAlchemy Session keeps what is published on it and inserts it last, whatever happens around the commit."""

from __future__ import annotations

import gc
import threading

import pytest
from sqlalchemy import create_engine, event, select, text, update
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from eventseam import NotInTransaction, Overloaded, Service, WiringError
from tests.guests.kinds import to
from tests.guests.shop import Asked, Order, OrderPlaced, orders, placed, published, query


@pytest.fixture
def engine(journal_url):
    made = create_engine(to(journal_url, "psycopg"), poolclass=NullPool)
    yield made
    made.dispose()


def say(session, order_id):
    return orders.publish(session, OrderPlaced(order_id))


def statements(engine):
    """What is executed from now on."""
    seen = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: seen.append(statement))
    return seen


def test_rows_are_inserted_after_everything_that_the_session_flushes(engine):
    seen = statements(engine)
    with Session(engine) as session, session.begin():
        say(session, "first")
        session.add(Order(id="o1", total=1))
        say(session, "second")
        session.add(Order(id="o2", total=1))
    assert ["orders", "event_outbox"] == [each.split()[2] for each in seen if each.startswith("INSERT")]


def test_two_sessions_that_meet_in_a_row_append_in_the_order_of_their_locks(engine, journal_url):
    with Session(engine) as session, session.begin():
        session.add(Order(id="o1", total=0))
    begun, committed = threading.Event(), threading.Event()

    def later():
        with Session(engine) as session, session.begin():
            say(session, "later")  # published first, and yet behind the lock
            begun.set()
            session.execute(update(Order).where(Order.id == "o1").values(total=2))
            committed.wait(10)

    with Session(engine) as session, session.begin():
        session.execute(update(Order).where(Order.id == "o1").values(total=1))
        thread = threading.Thread(target=later)
        thread.start()
        begun.wait(10)
        say(session, "earlier")
    committed.set()
    thread.join()
    assert ["earlier", "later"] == published(journal_url)


def test_events_of_nested_savepoints_follow_theirs(engine, journal_url):
    with Session(engine) as session, session.begin(), session.begin_nested():
        say(session, "kept")
        with pytest.raises(ValueError, match="no"), session.begin_nested():  # noqa: PT012 - the block is what raises
            say(session, "dropped")
            with session.begin_nested():
                say(session, "released into what is dropped")
            raise ValueError("no")
        say(session, "kept too")
    assert ["kept", "kept too"] == published(journal_url)


def test_a_savepoint_whose_flush_failed_takes_its_events_along(engine, journal_url):
    with Session(engine) as session, session.begin():
        session.add(Order(id="o1", total=1))
        session.flush()
        say(session, "kept")
        nested = session.begin_nested()
        say(session, "dropped")
        with pytest.raises(Exception, match="duplicate key"):
            session.execute(text("INSERT INTO orders VALUES ('o1', 1)"))
        nested.rollback()
    assert ["kept"] == published(journal_url)


def test_a_savepoint_that_nobody_ended_is_committed_with_its_events(engine, journal_url):
    with Session(engine) as session, session.begin():
        say(session, "before")
        session.begin_nested()
        say(session, "inside")
        session.add(Order(id="o1", total=1))
    assert ["before", "inside"] == published(journal_url)
    assert ["o1"] == placed(journal_url)


def test_a_session_is_used_again_and_forgets_what_it_rolled_back(engine, journal_url):
    session = Session(engine)
    say(session, "rolled back")
    session.rollback()
    say(session, "one")
    session.commit()
    say(session, "closed")
    session.close()
    say(session, "two")
    session.commit()
    session.commit()
    session.close()
    assert ["one", "two"] == published(journal_url)


def test_a_session_that_is_dropped_without_a_word_publishes_nothing(engine, journal_url):
    session = Session(engine)
    session.add(Order(id="o1", total=1))
    say(session, "dropped")
    del session
    gc.collect()
    assert [] == published(journal_url)
    assert [] == placed(journal_url)


@pytest.mark.parametrize("hook", ["before_flush", "after_flush", "after_flush_postexec", "before_commit"])
def test_what_a_hook_publishes_is_committed_too(engine, journal_url, hook):
    class Own(Session):
        pass

    def publish_new(session, *_):
        for each in [*session.new, *session.identity_map.values()]:
            if each.id not in session.info:
                session.info[each.id] = True
                say(session, each.id)

    event.listen(Own, hook, publish_new)
    with Own(engine) as session:
        kept = [Order(id="o1", total=1), Order(id="o2", total=1)]  # a session itself keeps what is new, no longer
        for each in kept:
            session.add(each)
            session.commit()
    assert ["o1", "o2"] == published(journal_url)


def test_a_hook_after_the_commit_is_told_that_it_is_too_late(engine, journal_url):
    with Session(engine) as session:
        event.listen(session, "after_commit", lambda own: say(own, "late"))
        session.add(Order(id="o1", total=1))
        with pytest.raises(NotInTransaction, match="failed or is over"):
            session.commit()
    assert [] == published(journal_url)


def test_a_session_whose_flush_failed_says_so(engine, journal_url):
    with Session(engine) as session:
        session.add_all([Order(id="o1", total=1), Order(id="o2", total=None)])
        with pytest.raises(Exception, match="null value"):
            session.flush()
        with pytest.raises(NotInTransaction, match=r"Call session.rollback\(\)"):
            say(session, "o1")
        session.rollback()
        say(session, "o3")
        session.commit()
    assert ["o3"] == published(journal_url)


def test_a_session_without_autobegin_must_begin(engine, journal_url):
    with Session(engine, autobegin=False) as session:
        with pytest.raises(NotInTransaction, match=r"with session.begin\(\)"):
            say(session, "o1")
        with session.begin():
            say(session, "o2")
    assert ["o2"] == published(journal_url)


def test_two_services_share_a_session_in_the_order_of_their_calls(engine, journal_url):
    billing = Service("billing")
    with Session(engine) as session, session.begin():
        say(session, "a")
        billing.publish(session, OrderPlaced("b"))
        say(session, "c")
    assert [("a", "orders"), ("b", "billing"), ("c", "orders")] == query(
        journal_url, "SELECT aggregate_id, source FROM event_outbox ORDER BY position"
    )


def test_a_scoped_session_stands_for_its_session(engine, journal_url):
    scoped = scoped_session(sessionmaker(engine))
    say(scoped, "o1")
    scoped.commit()
    scoped.remove()
    assert ["o1"] == published(journal_url)


async def test_an_async_scoped_session_stands_for_its_session(journal_url):
    engine = create_async_engine(to(journal_url, "asyncpg"), poolclass=NullPool)
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
    await orders.publish_async(scoped, OrderPlaced("o1"))
    await scoped.commit()
    await scoped.remove()
    await engine.dispose()
    assert ["o1"] == published(journal_url)


async def test_what_a_hook_of_an_async_session_publishes_is_committed_too(journal_url):
    class Own(Session):
        pass

    event.listen(Own, "after_flush", lambda session, _: [say(session, each.id) for each in session.new])
    engine = create_async_engine(to(journal_url, "asyncpg"), poolclass=NullPool)
    async with async_sessionmaker(engine, sync_session_class=Own)() as session:
        session.add(Order(id="o1", total=1))
        await session.commit()
    await engine.dispose()
    assert ["o1"] == published(journal_url)


def test_a_session_that_routes_by_statement_is_asked_where_an_insert_goes(engine, journal_url):
    elsewhere = create_engine("sqlite://")

    class Routed(Session):
        def get_bind(self, mapper=None, *, clause=None, **_):
            return engine if self._flushing or (clause is not None and clause.is_dml) else elsewhere

    with Routed() as session, session.begin():
        say(session, "o1")
    elsewhere.dispose()
    assert ["o1"] == published(journal_url)


def test_a_session_joined_into_an_outer_transaction_publishes_if_that_commits(engine, journal_url):
    with engine.connect() as connection:
        for ending in ("rollback", "commit"):
            connection.begin()
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.add(Order(id=ending, total=1))
                say(session, ending)
                session.commit()
            getattr(connection, ending)()
    assert ["commit"] == published(journal_url) == placed(journal_url)


def test_a_limit_is_held_when_the_session_commits(engine, journal_url):
    for n in range(3):
        with Session(engine) as session, session.begin():
            orders.publish(session, Asked(f"o{n}"))
    with Session(engine) as session:
        session.add(Order(id="o4", total=1))
        orders.publish(session, Asked("o4"))
        with pytest.raises(Overloaded, match="'few' is at its limit"):
            session.commit()
        session.rollback()
    assert ["o0", "o1", "o2"] == published(journal_url)
    assert [] == placed(journal_url)


def test_a_session_of_another_database_or_of_none_is_refused_when_it_publishes():
    with Session() as session, pytest.raises(WiringError, match="which database events go to"):
        say(session, "o1")
    elsewhere = create_engine("sqlite://").execution_options()
    elsewhere.dialect.name = "mysql"
    with Session(elsewhere) as session, pytest.raises(WiringError, match="through SQLAlchemy to mysql"):
        say(session, "o1")
    elsewhere.dispose()


def test_a_database_without_a_journal_says_so(postgres_url):
    engine = create_engine(to(postgres_url, "psycopg"), poolclass=NullPool)
    with Session(engine) as session:
        say(session, "o1")
        with pytest.raises(WiringError, match="sees no journal yet"):
            session.commit()
    engine.dispose()


def test_repeatable_read_publishes_what_it_wrote(engine, journal_url):
    with Session(engine.execution_options(isolation_level="REPEATABLE READ")) as session, session.begin():
        session.execute(select(Order)).all()
        session.add(Order(id="o1", total=1))
        say(session, "o1")
    assert ["o1"] == published(journal_url)
