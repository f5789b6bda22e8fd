"""On every kind of connection an event shares the fate of the transaction that it was published in."""

from __future__ import annotations

import json
import re

import pytest

from eventseam import NotInTransaction
from tests.guests.kinds import KINDS
from tests.guests.shop import placed, published, query

pytestmark = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


async def opened(kind, url):
    own = kind()
    await own.open(url)
    return own


async def test_a_committed_event_lies_in_the_journal_with_its_envelope(kind, url):
    own = await opened(kind, url)
    await own.begin()
    await own.write("o1")
    message_id = await own.publish("o1")
    await own.commit()
    await own.close()
    columns = "aggregate_type, aggregate_id, event_type, source, correlation_id, causation_id, details"
    assert [("order", "o1", "order.placed", "orders", message_id, None, None)] == query(
        url, f"SELECT {columns} FROM event_outbox"
    )
    ((found, trace, payload),) = query(url, "SELECT message_id, trace, payload FROM event_outbox")
    assert message_id == str(found)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace)
    assert {"order_id": "o1", "note": ""} == (json.loads(payload) if isinstance(payload, str) else payload)
    assert ["o1"] == placed(url)


async def test_events_lie_in_the_order_in_which_they_were_published(kind, url):
    own = await opened(kind, url)
    await own.begin()
    for n in (3, 1, 2):
        await own.write(f"o{n}")
        await own.publish(f"o{n}")
    await own.commit()
    await own.begin()
    await own.write("o0")
    await own.publish("o0")
    await own.commit()
    await own.close()
    assert ["o3", "o1", "o2", "o0"] == published(url)


async def test_a_rolled_back_event_was_never_there(kind, url):
    own = await opened(kind, url)
    await own.begin()
    await own.write("o1")
    await own.publish("o1")
    await own.rollback()
    await own.begin()
    await own.write("o2")
    await own.publish("o2")
    await own.commit()
    await own.close()
    assert ["o2"] == placed(url) == published(url)


async def test_a_savepoint_that_is_rolled_back_takes_along_exactly_its_events(kind, url):
    own = await opened(kind, url)
    await own.begin()
    await own.write("o1")
    await own.publish("o1")
    await own.savepoint()
    await own.write("o2")
    await own.publish("o2")
    await own.back()
    await own.savepoint()
    await own.write("o3")
    await own.publish("o3")
    await own.release()
    await own.write("o4")
    await own.publish("o4")
    await own.commit()
    await own.close()
    assert ["o1", "o3", "o4"] == published(url)


async def test_a_transaction_that_is_forgotten_publishes_nothing(kind, url):
    own = await opened(kind, url)
    await own.begin()
    await own.write("o1")
    await own.publish("o1")
    await own.forget()
    assert [] == placed(url)
    assert [] == published(url)


async def test_publishing_outside_a_transaction_is_refused_with_what_to_write(kind, url):
    own = await opened(kind, url)
    with pytest.raises(NotInTransaction, match="the event could be lost, or lie about a write that failed"):
        await own.outside()
    await own.close()
    assert [] == published(url)
