"""`ctx.write` with SQLAlchemy's insert(), update() and delete(): recorded as text and values, one text per shape."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.exc import InvalidRequestError

from eventseam import Ctx, EventseamError, Retry, WiringError
from eventseam.app.handlers import Bench
from eventseam.app.recorded import SHAPES_MAX, Statements
from eventseam.app.service import Service
from eventseam.clock import Seams
from tests.orm.shop import (
    CHANGED_AT,
    MADE_AT,
    Line,
    Order,
    OrderPlaced,
    PlaceOrder,
    Shelf,
    published,
    rows,
    running,
    shop,
)

INSERT = insert(Order)


async def test_a_recorded_insert_commits_with_the_event(url):
    service = shop(url)

    @service.handle(PlaceOrder)
    async def place(command: PlaceOrder, ctx: Ctx) -> None:
        ctx.write(INSERT, {"id": command.order_id, "email": command.email, "total": Decimal("1.50")})
        ctx.write(insert(Line).values(order_id=command.order_id, details={"n": 1}))
        ctx.publish(OrderPlaced(command.order_id))

    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
        async with app.transaction(service) as tx:  # read as the ORM reads, whatever the database keeps
            order = (await tx.session.scalars(select(Order))).one()
            line = (await tx.session.scalars(select(Line))).one()
        assert ("o1", "ann@shop.example", Decimal("1.50")) == (order.id, order.email, order.total)
        assert ("of o1", MADE_AT, "new", True) == (
            order.label,
            order.made_at,
            order.status,
            isinstance(order.token, uuid.UUID),
        )
        assert ("o1", {"n": 1}) == (line.order_id, line.details)
        assert ["order.placed"] == await published(app, service)


async def test_a_handler_that_raises_leaves_nothing_of_what_it_recorded(url):
    service = shop(url)

    @service.handle(PlaceOrder, retry=Retry(attempts=1))
    def place(command: PlaceOrder, ctx: Ctx) -> None:
        ctx.write(INSERT, {"id": command.order_id, "email": command.email})
        raise ValueError("after all that")

    async with running(url, service) as app:
        with pytest.raises(ValueError, match="after all that"):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, "SELECT id FROM orders")


async def test_statements_run_in_the_order_in_which_they_were_recorded(url):
    service = shop(url)

    @service.handle(PlaceOrder)
    async def place(command: PlaceOrder, ctx: Ctx) -> None:
        ctx.write(INSERT, {"id": "a", "email": "e"}, {"id": "b", "email": "e"}, {"id": "c", "email": "e"})
        ctx.write(update(Order).where(Order.id.in_(["a", "b"])).values(note="x", total=Order.total + 1))
        ctx.write(update(Order).where(Order.id == bindparam("which")).values(note="y"), {"which": "b"})
        ctx.write("UPDATE orders SET status = $1 WHERE id = $2", "seen", "a")
        ctx.write(text("UPDATE orders SET status = :status WHERE id = :id"), {"status": "told", "id": "b"})
        ctx.write(delete(Order).where(Order.id == "c"))

    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
        async with app.transaction(service) as tx:
            found = (await tx.session.execute(select(Order.id, Order.note, Order.status, Order.total))).all()
            changed = (await tx.session.scalars(select(Order.made_at))).all()
    assert [("a", "x", "seen", Decimal("10.90")), ("b", "y", "told", Decimal("10.90"))] == sorted(map(tuple, found))
    assert [CHANGED_AT] * 2 == changed


@pytest.fixture
def statements():
    return Statements("sqlite")


def test_rows_of_one_shape_have_one_text(statements):
    given = [{"id": str(n), "email": "e", "token": uuid.UUID(int=n)} for n in range(3)]
    apart = statements.writes(INSERT, given)
    inside = [one for row in given for one in statements.writes(insert(Order).values(**row), ())]
    assert 1 == len({statement for statement, _ in (*apart, *inside)})
    assert [values for _, values in apart] == [values for _, values in inside]


def test_a_statement_is_what_it_was_when_it_was_recorded(statements):
    row = {"id": "a", "email": "e"}
    [(_, values)] = statements.writes(INSERT, [row])
    before = list(values)
    row["id"] = "b"
    assert before == list(values)


def test_a_list_may_have_another_length_each_time(statements):
    which = delete(Order).where(Order.id.in_(bindparam("ids", expanding=True)))
    found = statements.writes(which, [{"ids": ["a"]}, {"ids": ["a", "b"]}, {"ids": []}])
    assert [["a"], ["a", "b"], []] == [list(values) for _, values in found]
    assert ["$1", "$1, $2"] == [statement.partition("(")[2].rstrip(")") for statement, _ in found[:2]]


def test_values_of_several_rows_in_one_statement_are_recorded_as_they_are(statements):
    both = insert(Line).values([{"id": 1, "order_id": "a"}, {"id": 2, "order_id": "b"}])
    [(statement, values)] = statements.writes(both, ())
    assert "VALUES ($1, $2), ($3, $4)" in statement
    assert [1, "a", 2, "b"] == values


def test_an_insert_from_a_select_is_recorded(statements):
    [(statement, values)] = statements.writes(
        insert(Line).from_select(["order_id"], select(Order.id).where(Order.total > 5)), ()
    )
    assert statement.startswith("INSERT INTO lines (order_id) SELECT orders.id")
    assert [5.0] == values


def test_an_sql_default_is_written_into_the_statement(statements):
    assert [("INSERT INTO shelves (free) VALUES (abs($1))", [-3])] == statements.writes(insert(Shelf), ())


def test_on_postgresql_values_are_those_of_asyncpg():
    [(statement, values)] = Statements("postgresql").writes(
        insert(Order).values(id="a", email="e", total=Decimal("1.5"), token=uuid.UUID(int=1)), ()
    )
    assert "VALUES ($1, $2, $3, $4, $5, $6)" in statement  # in this form the driver sends many rows as columns
    assert ["a", "e", Decimal("1.5"), uuid.UUID(int=1)] == values[:4]


def test_on_postgresql_a_value_in_an_expression_has_its_type():
    [(statement, _)] = Statements("postgresql").writes(update(Order).values(total=Order.total + Decimal(1)), ())
    assert "total=(orders.total + $1::NUMERIC" in statement


def test_shapes_without_end_do_not_fill_the_memory(statements):
    for n in range(SHAPES_MAX + 10):
        statements.writes(text(f"UPDATE orders SET note = :note -- {n}"), [{"note": "x"}])
    assert len(statements._plans) <= SHAPES_MAX


@pytest.mark.parametrize(
    "statement, given, said",
    [
        (insert(Order).returning(Order.id), (), "RETURNING"),
        (select(Order), (), "cannot record a Select"),
        (update(Order), ({"id": "a", "note": "x"},), "update by primary key"),
        (INSERT, ({"id": "a", "mail": "e"},), "no column and no parameter is named mail"),
        (INSERT, ("a", "e"), "a mapping of names to values"),
        (5, (), "a int was given"),
        (Order(id="a"), (), r"write ctx\.add\(it\)"),
    ],
    ids=["returning", "select", "by key", "unknown name", "no mapping", "no statement", "an object"],
)
def test_what_cannot_be_recorded_is_refused_with_the_fix(statements, statement, given, said):
    with pytest.raises(WiringError, match=said):
        statements.writes(statement, given)


def test_a_parameter_without_a_value_is_named(statements):
    with pytest.raises(InvalidRequestError, match="'which'"):
        statements.writes(delete(Order).where(Order.id == bindparam("which")), ())


async def test_nothing_can_be_recorded_after_the_handler_returned():
    service, kept = Service("shop"), []

    @service.handle(PlaceOrder)
    async def place(command: PlaceOrder, ctx: Ctx) -> None:
        kept.append(ctx)

    bench = Bench(service, Seams(), None)
    ctx = Ctx(bench._seat("place"), bench.transaction(None)[1], ())
    ctx._notes.close()
    with pytest.raises(EventseamError, match="after its handler had returned"):
        ctx.write(INSERT, {"id": "a", "email": "e"})
    with pytest.raises(EventseamError, match="after its handler had returned"):
        ctx.add(Order(id="a", email="e"))
