"""`journal` and `republish` on both databases: what is dropped, who is in the way, what is published again."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from eventseam.cli.exits import Exit
from tests.support import file
from tests.support.place import Databases, url_of
from tests.support.run import make_app
from tests.support.talk import Said, ears, on_loop


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """`ears` has finished three messages, `slow` has read nothing."""
    databases = None
    if request.param == "sqlite":
        place = tmp_path / "db"
    else:
        databases = Databases(request.getfixturevalue("postgres_server"))
        place = databases / "db"
    asyncio.run(fill(place))
    yield place
    if databases is not None:
        databases.drop()


async def fill(place):
    async with app_of(place).running(only=["ears"]) as app:
        ids = await app.publish(app.services[0], *[Said(f"k{n}", n) for n in range(3)])
        await app.wait_for(app.services[0], *ids)


def app_of(place):
    service, slow = ears(), ears("slow")
    on_loop(service, lambda message: None)
    on_loop(slow, lambda message: None)
    return make_app(place, service, slow)


async def serve(place, only=("ears",)):
    async with app_of(place).running(only=only) as app:
        await app.wait_idle()


def journal(place):
    return file.query(place, "SELECT count(*) FROM event_outbox")[0][0]


def hour_ago():
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def grow_old(place):
    """Everything in the journal and the inbox happened yesterday."""
    day_ago = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    file.query(place, "UPDATE processed_events SET processed_at = ?", day_ago)
    file.query(place, "UPDATE event_outbox SET created_at = ?", day_ago)


def test_trim_names_whoever_needs_old_rows(cli, place):
    ended = cli("journal", "trim", "--journal-hours", "0", "--json", "--database", url_of(place))
    [need] = ended.document["needed_by"]
    assert (Exit.FOUND, 0, "slow", 3) == (ended.code, ended.document["journal"], need["reader"], need["messages"])
    assert "slow" in cli("journal", "trim", "--journal-hours", "0", "--database", url_of(place)).out


def test_trim_drops_what_everybody_has_finished(cli, place):
    asyncio.run(serve(place, only=("ears", "slow")))
    grow_old(place)
    ended = cli("journal", "trim", "--journal-hours", "1", "--inbox-hours", "1", "--json", "--database", url_of(place))
    assert (Exit.OK, 3, 6, []) == (ended.code, *(ended.document[key] for key in ("journal", "inbox", "needed_by")))
    assert 0 == journal(place)


def test_trim_of_the_inbox_alone_leaves_the_journal(cli, place):
    grow_old(place)
    ended = cli("journal", "trim", "--inbox-hours", "1", "--json", "--database", url_of(place))
    assert (Exit.OK, 0, 3, 3) == (ended.code, ended.document["journal"], ended.document["inbox"], journal(place))


@pytest.mark.parametrize(
    "words, told",
    [
        (("--inbox-hours", "0"), "is shorter than lease_seconds (10): the inbox would forget"),
        (("--journal-hours", "1", "--inbox-hours", "2"), "--journal-hours 1 is shorter than --inbox-hours 2"),
    ],
)
def test_trim_refuses_windows_that_an_app_is_refused_with(cli, place, words, told):
    ended = cli("journal", "trim", *words, "--database", url_of(place))
    assert (Exit.USAGE, True, 3) == (ended.code, told in ended.err, journal(place))


def test_republish_knows_what_the_inbox_was_trimmed_of_whatever_the_settings_say(cli, place):
    day_ago = (datetime.now(UTC) - timedelta(hours=20)).isoformat()
    words = ("republish", "--json", "--database", url_of(place), "--since")
    assert Exit.OK == cli(*words, day_ago).code
    grow_old(place)
    cli("journal", "trim", "--inbox-hours", "1", "--database", url_of(place))
    refused = cli(*words, day_ago, "--yes")
    assert (Exit.USAGE, True) == (refused.code, "the inbox of this database was dropped up to" in refused.err)
    assert 3 == journal(place)
    later = (datetime.now(UTC) - timedelta(minutes=59)).isoformat()
    assert Exit.FOUND == cli(*words, later).code, "nothing is that new"


def test_trim_asks_how_long_things_are_kept_and_whether_force_is_meant(cli, place):
    assert "name the app, or give --journal-hours" in cli("journal", "trim", "--database", url_of(place)).err
    ended = cli("journal", "trim", "--journal-hours", "0", "--force", "--database", url_of(place))
    assert (Exit.USAGE, 3) == (ended.code, journal(place))


def test_force_leaves_a_gap_that_is_listed_until_it_is_accepted(cli, place):
    words = ("journal", "trim", "--journal-hours", "0", "--force", "--yes", "--json")
    ended = cli(*words, "--database", url_of(place))
    [gap] = ended.document["gaps"]
    assert (3, "slow", 2) == (ended.document["journal"], gap["reader"], gap["last"] - gap["first"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", gap["since"])
    listed = cli("journal", "accept-gap", "--database", url_of(place))
    assert (Exit.FOUND, True) == (listed.code, "slow" in listed.out)
    assert Exit.FOUND == cli("journal", "accept-gap", "ears", "--database", url_of(place)).code
    assert Exit.OK == cli("journal", "accept-gap", "slow", "--database", url_of(place)).code
    assert (Exit.OK, "No gaps.\n") == (
        (accepted := cli("journal", "accept-gap", "--database", url_of(place))).code, accepted.out,
    )  # fmt: skip
    asyncio.run(serve(place, only=("ears", "slow")))


def test_a_reader_is_forgotten_only_on_purpose(cli, place):
    assert Exit.USAGE == cli("journal", "forget-reader", "slow", "--database", url_of(place)).code
    assert Exit.OK == cli("journal", "forget-reader", "slow", "--yes", "--database", url_of(place)).code
    ended = cli("journal", "forget-reader", "slow", "--yes", "--database", url_of(place))
    assert (Exit.FOUND, True) == (ended.code, "there are: ears." in ended.err)


def test_republish_tells_first_and_publishes_on_yes(cli, place):
    words = ("republish", "--since", hour_ago(), "--json", "--database", url_of(place))
    told = cli(*words)
    assert (Exit.OK, 3, False, 3) == (told.code, told.document["messages"], told.document["published"], journal(place))
    done = cli(*words, "--yes")
    assert ({"talk.said": 3}, True, 6) == (done.document["types"], done.document["published"], journal(place))
    assert 3 == len({row[0] for row in file.query(place, "SELECT message_id FROM event_outbox")})
    assert 3 == cli(*words, "--yes").document["messages"], "copies of copies are not made"


def test_what_is_republished_reaches_whoever_has_lost_it_and_nobody_else(cli, place):
    file.query(place, "DELETE FROM processed_events WHERE event_id IN (SELECT event_id FROM processed_events LIMIT 1)")
    cli("republish", "--since", hour_ago(), "--yes", "--database", url_of(place))
    asyncio.run(serve_until_read(place))
    assert 4 == len(file.heard(place))


async def serve_until_read(place):
    async with app_of(place).running(only=["ears"]) as app:
        ids = await app.publish(app.services[0], Said("end", 9))
        await app.wait_for(app.services[0], *ids)
        await app.wait_for(
            app.services[0], *[str(row[0]) for row in file.query(place, "SELECT message_id FROM event_outbox")]
        )
        file.query(place, "DELETE FROM heard WHERE who = 'end'")


def test_republish_takes_one_key_type_and_channel(cli, place):
    words = ("republish", "--since", hour_ago(), "--json", "--database", url_of(place))
    counts = [
        cli(*words, *more).document["messages"] for more in (("--key", "k1"), ("--channel", "talk"), ("--type", "no"))
    ]
    assert [1, 3, 0] == counts
    assert Exit.FOUND == cli(*words, "--key", "nobody").code


@pytest.mark.parametrize(
    "words, told",
    [
        (("--since", "2026-01-31"), "would be handled twice by whoever has it"),
        (("--since", "2026-01-31T12:00"), "must be a time with its zone"),
        (("--since", "2036-01-31T12:00Z"), "is not before --until"),
    ],
)
def test_republish_refuses_windows_that_inboxes_do_not_cover(cli, tmp_path, words, told):
    ended = cli("republish", *words, "--database", f"sqlite:///{tmp_path}/none")
    assert (Exit.USAGE, True) == (ended.code, told in ended.err)


def test_a_journal_of_another_cluster_is_refused_until_it_is_rebased(cli, postgres_url):
    asyncio.run(fill(postgres_url))
    file.query(postgres_url, "UPDATE eventseam_journal SET cluster = '42'")
    refused = cli("lag", "--database", postgres_url)
    assert (Exit.STORAGE, True) == (refused.code, "run: eventseam journal rebase" in refused.err)
    found = cli("db", "check", "--json", "--database", postgres_url).document["findings"]
    assert ["the journal was written in the cluster 42"] == [each["what"].split(",")[0] for each in found]
    asked = cli("journal", "rebase", "--json", "--database", postgres_url)
    assert (Exit.FOUND, True) == (asked.code, asked.document["needed"])
    done = cli("journal", "rebase", "--yes", "--json", "--database", postgres_url)
    assert (Exit.OK, 2, ["ears", "slow"]) == (done.code, done.document["era"], done.document["readers"])
    assert "nothing to do" in cli("journal", "rebase", "--yes", "--database", postgres_url).out
    asyncio.run(fill(postgres_url))
    asyncio.run(serve(postgres_url, only=("ears", "slow")))
    assert [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2] == sorted(file.heard(postgres_url))


def test_a_file_needs_no_rebase(cli, tmp_path):
    asyncio.run(fill(tmp_path / "db"))
    assert {"rebased": False, "needed": False} == (
        cli("journal", "rebase", "--yes", "--json", "--database", f"sqlite:///{tmp_path / 'db'}").document
    )
