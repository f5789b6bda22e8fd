"""`ctx.add`: an object of a mapped class is recorded as the INSERT that a Session would write."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventseam import Ctx, WiringError
from eventseam.app.recorded import Statements
from eventseam.app.recorded_objects import Objects
from tests.orm.shop import (
    MADE_AT,
    Clerk,
    Line,
    Order,
    OrderPlaced,
    Person,
    PlaceOrder,
    Rack,
    Shelf,
    published,
    rows,
    running,
    shop,
)


async def test_an_added_object_commits_with_the_event(url):
    service = shop(url)

    @service.handle(PlaceOrder)
    async def place(command: PlaceOrder, ctx: Ctx) -> str:
        order = Order(id=command.order_id, email=command.email)
        ctx.add(order)
        ctx.add(Line(order_id=order.id, details=None))
        ctx.add(Clerk(desk=3))
        ctx.publish(OrderPlaced(order.id))
        return str(order.token)  # the default is on the object, as after a flush

    async with running(url, service) as app:
        token = await app.call(place, PlaceOrder("o1"))
        async with app.transaction(service) as tx:
            order = (await tx.session.scalars(select(Order))).one()
            clerk = (await tx.session.scalars(select(Clerk))).one()
        assert ("o1", "ann@shop.example", "9.90", None) == (order.id, order.email, str(order.total), order.note)
        assert (token, "of o1", MADE_AT, "new") == (str(order.token), order.label, order.made_at, order.status)
        assert ("clerk", 1, 3) == (clerk.kind, clerk.version, clerk.desk)
        assert [("o1",)] == await rows(app, service, "SELECT order_id FROM lines")
        assert ["order.placed"] == await published(app, service)


async def test_a_handler_that_raises_leaves_nothing_of_what_it_added(url):
    service = shop(url)

    @service.handle(PlaceOrder)
    def place(command: PlaceOrder, ctx: Ctx) -> None:
        ctx.add(Order(id=command.order_id, email=command.email))
        raise ValueError("after all that")

    async with running(url, service) as app:
        with pytest.raises(ValueError, match="after all that"):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, "SELECT id FROM orders")


@pytest.fixture
def objects():
    return Objects(Statements("sqlite"))


def flushed(instance):
    """The texts with which SQLAlchemy itself inserts an object, without RETURNING."""
    from sqlalchemy import create_engine

    from tests.orm.shop import Base

    engine, texts = create_engine("sqlite://"), []
    Base.metadata.create_all(engine)
    event.listen(
        engine, "before_cursor_execute", lambda _c, _k, text, *_: texts.append(text.partition(" RETURNING")[0])
    )
    with Session(engine) as session:
        session.add(instance)
        session.flush()
    engine.dispose()
    return texts


@pytest.mark.parametrize(
    "make",
    [
        lambda: Order(id="a", email="e"),
        lambda: Order(id="a", email="e", note=None, status="old"),
        lambda: Line(order_id="a"),
        lambda: Line(order_id="a", details=None),
        lambda: Line(id=7, order_id="a", details={"n": 1}),
        Person,
        lambda: Clerk(desk=1),
        Shelf,
        lambda: Shelf(id=3, free=2),
    ],
)
def test_the_columns_are_those_of_a_flush(objects, make):
    columns = [sorted(text.partition("(")[2].partition(")")[0].split(", ")) for text, _ in objects.writes(make())]
    assert [sorted(text.partition("(")[2].partition(")")[0].split(", ")) for text in flushed(make())] == columns


def test_both_rows_of_a_joined_class_have_one_key_and_the_first_comes_first(objects):
    clerk = Clerk(desk=1)
    (first, base), (second, derived) = objects.writes(clerk)
    assert ("INSERT INTO people", "INSERT INTO clerks") == (first[:18], second[:18])
    assert base[0] == derived[0] == clerk.id.hex


def test_equal_classes_have_one_text(objects):
    texts = [text for n in range(3) for text, _ in objects.writes(Order(id=str(n), email="e"))]
    assert 1 == len(set(texts))


def test_an_empty_collection_is_no_related_object(objects):
    assert 1 == len(list(objects.writes(Order(id="a", email="e", lines=[]))))


def attached():
    session = Session()
    order = Order(id="a", email="e")
    session.add(order)
    order.session = session
    return order


class Django:
    _meta = _state = None


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Order(id="a", email="e", lines=[Line()]), r"Order\.lines holds related objects"),
        (lambda: Line(order=Order(id="a")), r"Line\.order holds related objects"),
        (lambda: Order(id="a", email=func.lower("E")), r"Order\.email is an SQL expression"),
        (Rack, "give id a value"),
        (attached, "belongs to a Session"),
        (object, "object is none"),
        (lambda: Order, "none"),
        (Django, r"tx\.django"),
    ],
    ids=["collection", "parent", "expression", "server's key", "attached", "unmapped", "class", "Django"],
)
def test_what_only_a_session_can_do_is_refused_with_the_fix(objects, make, said):
    with pytest.raises(WiringError, match=said):
        list(objects.writes(make()))


def test_a_listener_that_would_not_be_called_is_refused(objects):
    class Base(DeclarativeBase):
        pass

    class Heard(Base):
        __tablename__ = "heard"
        id: Mapped[int] = mapped_column(primary_key=True)

    event.listen(Heard, "before_insert", lambda *_: None)
    with pytest.raises(WiringError, match="before_insert"):
        list(objects.writes(Heard(id=1)))


def test_a_given_key_stays(objects):
    key = uuid.UUID(int=7)
    [(_, values)] = objects.writes(Person(id=key))
    assert key.hex == values[0]
