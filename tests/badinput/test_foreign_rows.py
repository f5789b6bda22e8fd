"""What foreign programs insert: delivered with a valid envelope, refused with a reason, or dead with its raw bytes.

Nothing is lost, and nothing waits but the lane of the bad row.
"""

from __future__ import annotations

import sqlite3
import time
import uuid

import pytest

from eventseam import Ctx, Retry, Service
from eventseam.delivery.unsettled import Filter, list_unsettled
from eventseam.journal.look import lag, list_journal
from eventseam.ports.sql import run_sync
from eventseam.storage.sqlite_binding import SqliteSql
from tests.support.file import connect, heard, insert, query, redrive_now, unsettled
from tests.support.run import running
from tests.support.spawn import foreign_program
from tests.support.talk import TABLES, Echoed, Said, ears, hear

GOOD = '{"who":"ann","n":1}'


def _listening():
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    return service


def _dead(path):
    return query(
        path, "SELECT handler, error_class, error_message, body FROM unsettled WHERE state = 'dead' ORDER BY id"
    )


async def test_a_plain_insert_of_the_four_columns_by_any_program_is_delivered_in_order(tmp_path):
    service, envelopes = ears(), []

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        envelopes.append(ctx.envelope)
        hear(ctx, message)

    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1])\n"
        "for n in range(20):\n"
        '    db.execute("INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "\n'
        "               \"VALUES ('talk', 'ann', 'talk.said', ?)\", ('{\"who\": \"ann\", \"n\": %d}' % n,))\n"
        "    db.commit()\n"
    )
    async with running(tmp_path / "db", service) as app:
        await app.wait_idle()
        assert "" == foreign_program(program, str(tmp_path / "db"))
        await app.wait_idle()
    assert list(range(20)) == heard(tmp_path / "db")
    assert 20 == len({each.id for each in envelopes})
    for each in envelopes:
        assert str(uuid.UUID(each.id)) == each.id == each.correlation_id
        assert ("talk", "talk", "ann", "talk.said", None) == (
            each.channel,
            each.source,
            each.key,
            each.type,
            each.causation_id,
        )
        assert abs(time.time() - each.time.timestamp()) < 60


UNREADABLE = {
    "broken JSON": '{"who":',
    "no JSON": "hello",
    "nothing": "",
    "another shape": "[1, 2, 3]",
    "a missing field": '{"n": 1}',
    "a wrong type": '{"who": "ann", "n": "one"}',
    "null": "null",
    "NaN": '{"who": "ann", "n": NaN}',
    "Infinity": '{"who": "ann", "n": Infinity}',
    "a number beyond all bounds": '{"who": "ann", "n": 1e999}',
    "10,000 levels of lists": "[" * 10_000 + "]" * 10_000,
    "10,000 levels of objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "10,000 levels that never close": '{"who":' * 10_000,
    "more than a mebibyte": '{"who": "ann", "n": 1, "x": "' + "x" * 1_100_000 + '"}',
    "bytes that are no text": b'{"who": "\xff\xfe", "n": 1}',
    "a NUL": '{"who": "ann", "n": 1}\0',
    "a byte order mark": "\ufeff" + GOOD,
    "two documents": GOOD + GOOD,
    "binary": bytes(range(256)),
}


async def test_a_payload_that_cannot_be_read_is_dead_with_cause_and_raw_bytes_and_delays_nobody(tmp_path):
    async with running(tmp_path / "db", _listening()) as app:
        for n, (name, payload) in enumerate(UNREADABLE.items()):
            insert(tmp_path / "db", name, payload)
            insert(tmp_path / "db", f"good{n}", f'{{"who":"good{n}","n":{n}}}')
        await app.wait_idle()
    assert list(range(len(UNREADABLE))) == sorted(heard(tmp_path / "db"))
    rows = query(tmp_path / "db", "SELECT lane, state, attempts, error_class, body FROM unsettled ORDER BY id")
    assert list(UNREADABLE) == [lane for lane, *_ in rows]
    assert {("dead", 1)} == {(state, attempts) for _, state, attempts, _, _ in rows}
    assert {"Undecodable", "TooLarge"} == {error for *_, error, _ in rows}
    for payload, (*_, body) in zip(UNREADABLE.values(), rows, strict=True):
        assert (payload if isinstance(payload, bytes) else payload.encode()) == body


async def test_a_body_column_wins_over_the_payload_and_is_kept_byte_for_byte(tmp_path):
    statement = (
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body) "
        "VALUES ('talk', ?, 'talk.said', '', ?)"
    )
    async with running(tmp_path / "db", _listening()) as app:
        query(tmp_path / "db", statement, "ann", GOOD.encode())
        query(tmp_path / "db", statement, "bob", GOOD)
        query(tmp_path / "db", statement, "bad", b"\x00\xff")
        query(tmp_path / "db", statement.replace("?)", "CAST(? AS TEXT))"), "worse", b"\xff\xfe")
        await app.wait_idle()
    assert [1, 1] == heard(tmp_path / "db")
    assert [b"\x00\xff", b"\xff\xfe"] == [body for *_, body in _dead(tmp_path / "db")]


async def test_an_unknown_type_is_dead_as_unrouted_and_a_later_deployment_that_knows_it_handles_it(tmp_path):
    path, service = tmp_path / "db", _listening()
    async with running(path, service) as app:
        insert(path, "ann", '{"who":"ann","n":7}', kind="echo.echoed")
        insert(path, "ann", GOOD)
        await app.wait_idle()
    assert [1] == heard(path)
    ((handler, error, message, body),) = _dead(path)
    assert ("unrouted", "UnknownType", b'{"who":"ann","n":7}') == (handler, error, body)
    assert "'echo.echoed'" in message

    later = _listening()

    @later.on(Echoed)
    async def on_echoed(message: Echoed, ctx: Ctx) -> None:
        hear(ctx, message, "echo")

    async with running(path, later) as app:
        await app.wait_idle()
        assert [] == heard(path, "echo")
        redrive_now(path, Filter(handler="unrouted"), time.time())
        await app.wait_idle()
    assert [7] == heard(path, "echo")
    assert [] == unsettled(path)


async def test_an_unrouted_message_that_is_still_unknown_is_dead_again(tmp_path):
    async with running(tmp_path / "db", _listening()) as app:
        insert(tmp_path / "db", "ann", GOOD, kind="nobody.knows")
        await app.wait_idle()
        redrive_now(tmp_path / "db", Filter(), time.time())
        await app.wait_idle()
    assert [("unrouted", "ann", "dead", 1)] == unsettled(tmp_path / "db")


@pytest.mark.parametrize(
    "kind", ["talk.said.v2", "talk.said.v1", "Talk.Said", "talk.said ", "talk.said\0", "../../etc"]
)
async def test_a_wrong_name_or_version_is_dead_and_says_what_is_known(tmp_path, kind):
    async with running(tmp_path / "db", _listening()) as app:
        insert(tmp_path / "db", "ann", GOOD, kind=kind)
        await app.wait_idle()
    ((handler, error, message, _),) = _dead(tmp_path / "db")
    assert ("unrouted", "UnknownType") == (handler, error)
    told = {"talk.said.v2": "known in version 1 only", "talk.said.v1": "version 1 is written without .v1"}
    assert told.get(kind, "no message type") in message


HOSTILE_COLUMNS = {
    "message_id": ["", "a\0b", "\x1b[2J", "x" * 1_000, b"\xff\xfe", "é" * 200, 5, "'; DROP TABLE event_outbox; --"],
    "source": ["", "a\0b", "x" * 4_096, b"\xff\xfe", 5, 1.5],
    "correlation_id": ["", "a\0b", "x" * 4_096, b"\xff\xfe", 5],
    "causation_id": ["", "a\0b", "x" * 4_096, b"\xff\xfe", 5],
    "trace": ["", "00-garbage", "x" * 4_096, b"\xff\xfe", 5],
    "content_type": ["", "text/plain; charset=\0", "x" * 4_096, b"\xff", 5],
    "schema_id": ["", "a\0b", "x" * 4_096, b"\xff", 5],
    "details": ["", "javascript:alert(1)", "x" * 4_096, b"\xff", 5],
    "published_at": ["", "never", b"\xff", 5],
    "created_at": [
        "",
        "yesterday",
        "2024-01-01 00:00:00",
        "2024-01-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2024-01-01T00:00:00+01:02:03",
        "2024-13-45T99:99:99Z",
        "2024-01-01T00:00:00\0",
        "x" * 4_096,
        b"\xff",
        5,
        1e308,
    ],
}


REFUSED = {
    "no channel": {"channel": ""},
    "a channel as bytes": {"channel": b"talk"},
    "a channel without end": {"channel": "x" * 129},
    "a channel that hides behind a NUL": {"channel": "talk\0" + "x" * 1_000_000},
    "no key": {"key": ""},
    "a key as bytes": {"key": b"ann"},
    "a key without end": {"key": "k" * 513},
    "a key that hides behind a NUL": {"key": "k\0" + "x" * 1_000_000},
    "no type": {"kind": ""},
    "a type as bytes": {"kind": b"talk.said"},
    "a type without end": {"kind": "t" * 257},
    "a type that hides behind a NUL": {"kind": "t\0" + "x" * 1_000_000},
    "a payload without end": {"payload": "x" * 17_000_000},
    "a payload that hides behind a NUL": {"payload": "\0" + "x" * 17_000_000},
    "a payload as bytes without end": {"payload": b"x" * 17_000_000},
    "nothing at all": {"payload": None},
}


async def test_a_row_that_could_never_be_delivered_is_refused_where_it_is_inserted(tmp_path):
    async with running(tmp_path / "db", _listening()) as app:
        for name, changes in REFUSED.items():
            row = {"key": "ann", "payload": GOOD, **changes}
            with pytest.raises(sqlite3.IntegrityError) as caught:
                insert(tmp_path / "db", **row)
            assert "constraint failed" in str(caught.value), name
        await app.wait_idle()
    assert [(0,)] == query(tmp_path / "db", "SELECT count(*) FROM event_outbox")


@pytest.mark.parametrize("column", [column for column in HOSTILE_COLUMNS if column != "published_at"])
@pytest.mark.parametrize("value", ["x" * 4_097, "\0" + "x" * 4_096, b"x" * 4_097])
async def test_a_header_column_without_end_is_refused_where_it_is_inserted(tmp_path, column, value):
    async with running(tmp_path / "db", _listening()):
        with pytest.raises(sqlite3.IntegrityError, match=f"{column}_has_at_most_4096_bytes"):
            query(
                tmp_path / "db",
                f"INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, {column}) "
                "VALUES ('talk', 'ann', 'talk.said', ?, ?)",
                GOOD,
                value,
            )


async def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(tmp_path):
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1])\n"
        'db.execute("INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body) "\n'
        "           \"VALUES ('talk', 'ann', 'talk.said', '', zeroblob(1000000000))\")\n"
    )
    async with running(tmp_path / "db", _listening()) as app:
        said = foreign_program(program, str(tmp_path / "db"))
        assert "IntegrityError: CHECK constraint failed: body_has_at_most_4_MiB" in said
        insert(tmp_path / "db", "ann", GOOD)
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")


async def test_an_id_of_ones_own_is_refused_when_it_is_too_small_or_would_use_up_all_ids(tmp_path):
    statement = (
        "INSERT INTO event_outbox (id, aggregate_type, aggregate_id, event_type, payload) "
        "VALUES (?, 'talk', 'ann', 'talk.said', ?)"
    )
    async with running(tmp_path / "db", _listening()) as app:
        for n in range(3):
            insert(tmp_path / "db", "ann", f'{{"who":"ann","n":{n}}}')
        query(tmp_path / "db", "DELETE FROM event_outbox WHERE id = 2")
        await app.wait_idle()
        for number in (2, 0, -5, 2**63 - 1):
            with pytest.raises(sqlite3.IntegrityError, match=r"given.by.the.database"):
                query(tmp_path / "db", statement, number, GOOD)
        query(tmp_path / "db", statement, 1_000, '{"who":"ann","n":3}')
        insert(tmp_path / "db", "ann", '{"who":"ann","n":4}')
        await app.wait_idle()
    assert [0, 2, 3, 4] == [n for n in heard(tmp_path / "db") if n != 1]


async def test_whatever_stands_in_the_other_columns_every_row_is_handled_or_dead_and_the_tools_go_on(tmp_path):
    path, service = tmp_path / "db", ears()

    @service.on(Said, retry=Retry(attempts=2, first_seconds=0.01, max_seconds=0.02))
    async def on_said(message: Said, ctx: Ctx) -> None:
        if message.n % 2 and ctx.attempt == 1:
            raise ValueError(ctx.envelope)
        ctx.publish(Echoed(message.who, message.n))
        hear(ctx, message)

    count = 0
    async with running(path, service) as app:
        for column, values in HOSTILE_COLUMNS.items():
            statement = (
                f"INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, {column}) "
                "VALUES ('talk', ?, 'talk.said', ?, ?)"
            )
            for value in values:  # one that is handled at once, one that is tried again from its row
                for _ in range(1 if column == "message_id" else 2):
                    query(path, statement, f"k{count}", f'{{"who":"k{count}","n":{count}}}', value)
                    count += 1
        await app.wait_idle()
    dead = {int(lane[1:]) for _, lane, state, _ in unsettled(path) if state == "dead"}
    assert set(range(count)) == set(heard(path)) | dead
    assert not set(heard(path)) & dead
    connection = connect(path)
    sql = SqliteSql(connection)
    assert run_sync(list_unsettled(sql, Filter()))
    assert run_sync(list_journal(sql, limit=1_000))
    query(path, "UPDATE positions SET done = 0")
    assert 2 * count > run_sync(lag(sql, app.seams.clock.now()))[0].behind_messages > 0
    connection.close()


@pytest.mark.parametrize(
    "key", ["\x1b[31m", "a\0b", "é" * 500, " ", "'; DROP TABLE heard; --", "$1", "\u202e", "a/b\\c"]
)
async def test_a_hostile_key_is_a_lane_like_any_other(tmp_path, key):
    async with running(tmp_path / "db", _listening()) as app:
        insert(tmp_path / "db", key, "bad")
        insert(tmp_path / "db", key, GOOD)
        insert(tmp_path / "db", "bob", GOOD)
        await app.wait_idle()
        assert [1] == heard(tmp_path / "db")
        query(tmp_path / "db", "DELETE FROM unsettled WHERE state = 'dead'")
        query(tmp_path / "db", "UPDATE unsettled SET state = 'retrying'")
        await app.wait_idle()
    assert [1, 1] == heard(tmp_path / "db")


async def test_keys_and_types_that_are_no_text_are_read_all_the_same(tmp_path):
    statement = (
        "INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload) "
        "VALUES ('talk', CAST(? AS TEXT), CAST(? AS TEXT), ?)"
    )
    async with running(tmp_path / "db", _listening()) as app:
        query(tmp_path / "db", statement, b"\xff\xfe", b"talk.said", GOOD)
        query(tmp_path / "db", statement, b"ann", b"talk\xff", GOOD)
        insert(tmp_path / "db", "bob", GOOD)
        await app.wait_idle()
    assert [1, 1] == heard(tmp_path / "db")
    assert [("unrouted", "ann", "dead", 1)] == unsettled(tmp_path / "db")


async def test_what_is_on_a_channel_that_nobody_here_hears_is_passed(tmp_path):
    mouth = Service("mouth", tables=TABLES)

    async with running(tmp_path / "db", _listening(), mouth) as app:
        insert(tmp_path / "db", "ann", GOOD, channel="elsewhere")
        insert(tmp_path / "db", "ann", GOOD)
        await app.wait_idle()
    assert [1] == heard(tmp_path / "db")
    assert [] == unsettled(tmp_path / "db")
