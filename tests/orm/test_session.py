"""`tx.session`: SQLAlchemy inside the transaction of a handler, in both colours."""

from __future__ import annotations

from threading import Event

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from eventseam import EventseamError, HandlerTimeout, Refused, SyncTx, Tx
from tests.orm.shop import Line, Order, OrderPlaced, PlaceOrder, published, rows, running, shop

IDS = "SELECT id FROM orders ORDER BY id"


def in_thread(service, act):
    @service.handle_tx(PlaceOrder)
    def place(command: PlaceOrder, tx: SyncTx) -> None:
        act(command, tx)

    return place


def on_loop(service, act):
    @service.handle_tx(PlaceOrder)
    async def place(command: PlaceOrder, tx: Tx) -> None:
        await tx.session.run_sync(lambda session: act(command, Blocking(tx, session)))

    return place


class Blocking:
    """A Tx for code that is written once for both colours: the session under its AsyncSession."""

    def __init__(self, tx, session):
        self.session = session
        self.publish = tx.publish


@pytest.fixture(params=[in_thread, on_loop])
def handle(request):
    """Declare a handler of PlaceOrder that does `act(command, tx)`, as a def or an async def."""
    return request.param


async def test_what_a_session_holds_commits_with_the_event(url, handle):
    def act(command, tx):
        tx.session.add(Order(id=command.order_id, email=command.email, lines=[Line(details={"n": 1})]))
        tx.publish(OrderPlaced(command.order_id))

    service = shop(url)
    place = handle(service, act)
    async with running(url, service) as app:
        for order_id in ("o1", "o2", "o3"):
            await app.call(place, PlaceOrder(order_id))
        assert [("o1",), ("o2",), ("o3",)] == await rows(app, service, IDS)
        assert [("o1",), ("o2",), ("o3",)] == await rows(app, service, "SELECT order_id FROM lines ORDER BY id")
        assert ["order.placed"] * 3 == await published(app, service)


async def test_a_handler_that_raises_leaves_nothing_of_its_session(url, handle):
    def act(command, tx):
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        tx.publish(OrderPlaced(command.order_id))
        raise ValueError("after all that")

    service = shop(url)
    place = handle(service, act)
    async with running(url, service) as app:
        with pytest.raises(ValueError, match="after all that"):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, IDS)
        assert [] == await published(app, service)


async def test_a_refusal_undoes_the_session_and_publishes_its_event(url, handle):
    def act(command, tx):
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        raise Refused(OrderPlaced("refused"))

    service = shop(url)
    place = handle(service, act)
    async with running(url, service) as app:
        with pytest.raises(Refused):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, IDS)
        assert ["order.placed"] == await published(app, service)


async def test_a_savepoint_that_is_rolled_back_takes_only_its_own_rows(url, handle):
    def act(command, tx):
        tx.session.add(Order(id=command.order_id, email=command.email))
        with pytest.raises(IntegrityError), tx.session.begin_nested():
            tx.session.execute(text("INSERT INTO orders (id) VALUES (NULL)"))
        tx.session.add(Order(id=command.order_id + "b", email=command.email))
        tx.publish(OrderPlaced(command.order_id))

    service = shop(url)
    place = handle(service, act)
    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
        assert [("o1",), ("o1b",)] == await rows(app, service, IDS)
        assert ["order.placed"] == await published(app, service)


async def test_a_failed_flush_that_is_swallowed_fails_the_handler(url, handle):
    def act(command, tx):
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        tx.session.add(Order(id="o2"))  # its e-mail may not be NULL
        with pytest.raises(IntegrityError):
            tx.session.flush()

    service = shop(url)
    place = handle(service, act)
    async with running(url, service) as app:
        with pytest.raises(EventseamError, match=r"begin_nested"):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, IDS)


@pytest.mark.parametrize(
    "end",
    [
        lambda session: session.commit(),
        lambda session: session.connection().commit(),
        lambda session: session.get_transaction().commit(),
        lambda session: session.rollback(),
        lambda session: session.connection().rollback(),
        lambda session: session.reset(),
    ],
    ids=["commit", "connection.commit", "transaction.commit", "rollback", "connection.rollback", "reset"],
)
async def test_the_transaction_is_not_the_sessions_to_end(url, handle, end):
    def act(command, tx):
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        end(tx.session)

    service = shop(url)
    place = handle(service, act)
    async with running(url, service) as app:
        with pytest.raises(EventseamError, match=r"not the handler's to end|rolled back"):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, IDS)


async def test_a_session_in_a_with_block_lives_as_long_as_its_handler(url):
    service = shop(url)

    @service.handle_tx(PlaceOrder)
    async def place(command: PlaceOrder, tx: Tx) -> int:
        async with tx.session as session:
            session.add(Order(id=command.order_id, email=command.email))
        return len((await tx.session.scalars(select(Order))).all())

    async with running(url, service) as app:
        assert 1 == await app.call(place, PlaceOrder("o1"))
        assert [("o1",)] == await rows(app, service, IDS)


async def test_a_session_sees_what_the_transaction_wrote_and_the_other_way_round(url):
    service = shop(url)

    @service.handle_tx(PlaceOrder)
    def place(command: PlaceOrder, tx: SyncTx) -> list[object]:
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        tx.execute("UPDATE orders SET note = 'seen' WHERE id = $1", command.order_id)
        return list(tx.session.execute(select(Order.note, Order.status, Order.total)).one())

    async with running(url, service) as app:
        note, status, total = await app.call(place, PlaceOrder("o1"))
    assert ("seen", "new", "9.90") == (note, status, str(total))


async def test_the_same_in_a_transaction_outside_of_handlers(url):
    service = shop(url)
    async with running(url, service) as app:
        async with app.transaction(service) as tx:
            tx.session.add(Order(id="o1", email="ann@shop.example"))
            tx.publish(OrderPlaced("o1"))
        with pytest.raises(IntegrityError):
            async with app.transaction(service) as tx:
                tx.session.add_all([Order(id="o2", email="ann@shop.example"), Order(id="o1", email="twice")])
        assert [("o1",)] == await rows(app, service, IDS)
        assert ["order.placed"] == await published(app, service)


async def test_a_session_is_unusable_after_its_handler(url):
    service, kept = shop(url), []

    @service.handle_tx(PlaceOrder)
    def place(command: PlaceOrder, tx: SyncTx) -> None:
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        kept.extend([tx, tx.session, tx.session.connection()])

    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
        tx, session, connection = kept
        with pytest.raises(EventseamError, match="after its handler had returned"):
            session.scalars(select(Order)).all()
        with pytest.raises(EventseamError, match="after its handler had returned"):
            _ = tx.session.bind
        with pytest.raises(Exception, match=r"closed|over"):
            connection.execute(text("SELECT 1"))
        assert [("o1",)] == await rows(app, service, IDS)


async def test_the_rows_of_a_session_lie_before_its_events(url):
    """The event's position is drawn while the session's row locks are held: two handlers cannot invert a key."""
    service = shop(url)

    @service.handle_tx(PlaceOrder)
    def place(command: PlaceOrder, tx: SyncTx) -> None:
        tx.publish(OrderPlaced(command.order_id))
        tx.session.add(Order(id=command.order_id, email=command.email, note="late"))

    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
        with pytest.raises(IntegrityError):  # at the flush: nothing was appended yet
            await app.call(place, PlaceOrder("o1"))
        assert ["order.placed"] == await published(app, service)


async def test_json_is_read_as_it_was_written(url, handle):
    def act(command, tx):
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.add(Line(order_id=command.order_id, details={"n": [1, None]}))
        tx.session.flush()
        tx.session.expire_all()
        found.extend(tx.session.scalars(select(Line.details)))

    service, found = shop(url), []
    place = handle(service, act)
    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
    assert [{"n": [1, None]}] == found


async def test_a_lost_connection_is_the_databases_trouble_and_not_the_messages(request, handle):
    url = request.getfixturevalue("postgres_url")

    def act(command, tx):
        attempts.append(command.order_id)
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        if len(attempts) == 1:
            tx.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    service, attempts = shop(url), []
    place = handle(service, act)
    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))  # a call is never tried again for what its handler did
        assert ["o1", "o1"] == attempts
        assert [("o1",)] == await rows(app, service, IDS)


async def test_many_handlers_have_sessions_at_once(url):
    service = shop(url)

    @service.on_tx(OrderPlaced, name="thread")
    def in_a_thread(event: OrderPlaced, tx: SyncTx) -> None:
        tx.session.add(Order(id="t" + event.order_id, email="e"))

    @service.on_tx(OrderPlaced, name="loop")
    async def on_the_loop(event: OrderPlaced, tx: Tx) -> None:
        tx.session.add(Order(id="l" + event.order_id, email="e"))

    async with running(url, service) as app:
        await app.publish(service, *[OrderPlaced(str(n)) for n in range(40)])
        await app.wait_idle()
        assert [(80,)] == await rows(app, service, "SELECT count(*) FROM orders")
        assert [] == await rows(app, service, "SELECT handler FROM unsettled")


async def test_a_session_is_taken_away_from_a_handler_that_hangs(url):
    service, go_on, ended = shop(url), Event(), Event()

    @service.handle_tx(PlaceOrder, timeout_seconds=0.2)
    def place(command: PlaceOrder, tx: SyncTx) -> None:
        tx.session.add(Order(id=command.order_id, email=command.email))
        tx.session.flush()
        if command.order_id == "o1":
            go_on.wait(20)
            try:
                tx.session.add(Order(id="late", email=command.email))
                tx.session.flush()
            finally:
                ended.set()

    async with running(url, service) as app:
        with pytest.raises(HandlerTimeout):
            await app.call(place, PlaceOrder("o1"))
        await app.call(place, PlaceOrder("o2"))
        go_on.set()
        assert ended.wait(20)
        await app.call(place, PlaceOrder("o3"))
        assert [("o2",), ("o3",)] == await rows(app, service, IDS)
