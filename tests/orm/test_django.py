"""`with tx.django():`: Django's ORM inside the transaction of a `def` handler."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.utils import DatabaseError, OperationalError

from eventseam import EventseamError, Service, SyncTx, WiringError
from tests.orm.django_shop import TABLES, Parcel
from tests.orm.shop import OrderPlaced, PlaceOrder, published, rows, running

SENT_AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
IDS = "SELECT order_id FROM parcels ORDER BY order_id"


@pytest.fixture
def service(url, monkeypatch):
    """A service with the model's table, in the database that is also Django's default."""
    point(monkeypatch, url)
    return Service("parcels", tables=TABLES[url.partition(":")[0]])


def point(monkeypatch, url, alias="default"):
    """Let an alias of Django's be the database of the URL."""
    if url.startswith("sqlite"):
        config = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///")}
    else:
        from psycopg.conninfo import conninfo_to_dict

        parts = conninfo_to_dict(url)
        names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        config = {"ENGINE": "django.db.backends.postgresql"} | {key: parts.get(name, "") for key, name in names.items()}
    full = connections.configure_settings({"default": config})["default"]
    monkeypatch.setitem(connections.settings, alias, full)


def ship(service, act):
    @service.handle_tx(PlaceOrder)
    def place(command: PlaceOrder, tx: SyncTx) -> object:
        return act(command, tx)

    return place


def parcel(order_id, **values):
    return Parcel(order_id=order_id, weight=Decimal("1.50"), sent_at=SENT_AT, details={"n": 1}, **values)


async def test_what_models_save_commits_with_the_event(url, service):
    def act(command, tx):
        with tx.django():
            parcel(command.order_id).save()
            found = Parcel.objects.get(order_id=command.order_id)
        tx.publish(OrderPlaced(command.order_id))
        return found.weight, found.sent_at, found.details

    place = ship(service, act)
    async with running(url, service) as app:
        for order_id in ("o1", "o2"):
            assert (Decimal("1.50"), SENT_AT, {"n": 1}) == await app.call(place, PlaceOrder(order_id))
        assert [("o1",), ("o2",)] == await rows(app, service, IDS)
        assert ["order.placed"] * 2 == await published(app, service)


async def test_a_handler_that_raises_leaves_nothing_of_its_models(url, service):
    def act(command, tx):
        with tx.django():
            parcel(command.order_id).save()
        tx.publish(OrderPlaced(command.order_id))
        raise ValueError("after all that")

    place = ship(service, act)
    async with running(url, service) as app:
        with pytest.raises(ValueError, match="after all that"):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, IDS)
        assert [] == await published(app, service)


async def test_an_atomic_block_is_a_savepoint(url, service):
    def act(command, tx):
        with tx.django():
            parcel(command.order_id).save()
            with pytest.raises(IntegrityError), transaction.atomic():
                Parcel.objects.bulk_create([parcel("x"), parcel(command.order_id)])
            with transaction.atomic():
                parcel("y").save()
        tx.publish(OrderPlaced(command.order_id))

    place = ship(service, act)
    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
        assert [("o1",), ("y",)] == await rows(app, service, IDS)
        assert ["order.placed"] == await published(app, service)


async def test_an_error_that_is_swallowed_outside_of_the_block_fails_the_handler(url, service):
    def act(command, tx):
        with pytest.raises(IntegrityError), tx.django():
            Parcel.objects.bulk_create([parcel("x"), parcel("x")])

    place = ship(service, act)
    async with running(url, service) as app:
        with pytest.raises(EventseamError, match=r"transaction\.atomic"):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, IDS)


def atomic_without_savepoint():
    with pytest.raises(ValueError, match="no"), transaction.atomic(savepoint=False):
        raise ValueError("no")


@pytest.mark.parametrize(
    "end, said",
    [
        (lambda: connection.commit(), "forbidden"),  # noqa: PLW0108 - in the handler's thread
        (lambda: connection.rollback(), "forbidden"),  # noqa: PLW0108 - as above
        (lambda: connection.close(), "rolled back"),  # noqa: PLW0108 - as above
        (lambda: transaction.set_rollback(True), "rolled back"),
        (atomic_without_savepoint, "rolled back"),
        (lambda: transaction.on_commit(print), r"tx\.publish"),
        (lambda: transaction.atomic(durable=True).__enter__(), "durable"),
    ],
    ids=["commit", "rollback", "close", "set_rollback", "atomic without savepoint", "on_commit", "durable"],
)
async def test_the_transaction_is_not_djangos_to_end(url, service, end, said):
    def act(command, tx):
        with tx.django():
            parcel(command.order_id).save()
            end()

    place = ship(service, act)
    async with running(url, service) as app:
        with pytest.raises(Exception, match=said):
            await app.call(place, PlaceOrder("o1"))
        assert [] == await rows(app, service, IDS)


async def test_models_and_statements_see_each_other(url, service):
    def act(command, tx):
        with tx.django():
            parcel(command.order_id).save()
            tx.execute("UPDATE parcels SET weight = '2.50' WHERE order_id = $1", command.order_id)
            return [each.weight for each in Parcel.objects.iterator()]

    place = ship(service, act)
    async with running(url, service) as app:
        assert [Decimal("2.50")] == await app.call(place, PlaceOrder("o1"))


async def test_after_the_block_the_threads_own_connection_is_back(url, service):
    def act(command, tx):
        own = connections["default"]
        with tx.django():
            inside = connections["default"]
            cursor = connection.cursor()
        with pytest.raises(EventseamError, match="transaction is over"):
            cursor.execute("SELECT 1")
        return own is connections["default"], own is not inside

    place = ship(service, act)
    async with running(url, service) as app:
        assert (True, True) == await app.call(place, PlaceOrder("o1"))


async def test_another_database_is_refused_with_the_fix(url, service, monkeypatch, tmp_path):
    point(monkeypatch, f"sqlite:///{tmp_path / 'other.db'}")

    def act(command, tx):
        with tx.django():
            parcel(command.order_id).save()

    place = ship(service, act)
    async with running(url, service) as app:
        with pytest.raises(WiringError, match="Point EVENTSEAM_DATABASE and Django to one database"):
            await app.call(place, PlaceOrder("o1"))


async def test_an_alias_that_django_does_not_know_is_refused(url, service):
    def act(command, tx):
        with tx.django("warehouse"):
            pass

    place = ship(service, act)
    async with running(url, service) as app:
        with pytest.raises(WiringError, match="no such alias"):
            await app.call(place, PlaceOrder("o1"))


async def test_a_block_cannot_be_opened_after_the_handler_returned(url, service):
    kept = []
    place = ship(service, lambda _, tx: kept.append(tx))
    async with running(url, service) as app:
        await app.call(place, PlaceOrder("o1"))
    with pytest.raises(EventseamError, match="after its handler had returned"), kept[0].django():
        pass


async def test_an_error_of_the_database_is_the_drivers_own(url, service):
    """Then the store can tell whether the database is in trouble, or the message."""

    def act(command, tx):
        with tx.django(), connection.cursor() as cursor:
            try:
                cursor.execute("SELECT * FROM nowhere")
            except DatabaseError as error:
                raise OperationalError("as Django says it") from error.__cause__

    place = ship(service, act)
    async with running(url, service) as app:
        with pytest.raises(Exception, match="nowhere") as caught:
            await app.call(place, PlaceOrder("o1"))
    assert not type(caught.value).__module__.startswith("django")
