"""`eventseam topology`: what is missing at a broker is told and made, and what is other than known is found."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from eventseam.cli.exits import Exit
from tests.broker.grown import command
from tests.support.talk import Said


@pytest.fixture
def topology(capsys):
    """Run `eventseam topology … grown_app:create --json`: exit code, document and states by channel."""

    async def run(verb, *more):
        sys.modules.pop("grown_app", None)
        code = await asyncio.to_thread(command, "topology", verb, "grown_app:create", "--json", *more)
        out, err = capsys.readouterr()
        document = json.loads(out) if out else err
        states = {each["channel"]: each["state"] for each in document["channels"]} if out else {}
        return code, document, states

    return run


async def test_plan_tells_what_would_be_made_and_makes_nothing(place, topology):
    for _ in range(2):
        code, document, states = await topology("plan")
        assert (Exit.OK, {"talk": "missing", "talk.dlq": "missing"}) == (code, states)
    talk = document["channels"][0]
    assert ("talk", 3, None, ["ears/3@bus"]) == tuple(
        talk[name] for name in ("channel", "partitions", "noted", "readers")
    )
    assert {"transport", "channels", "made", "hints"} == set(document)
    assert not place.file.exists()
    assert "Not compared with what the app has noted: there is no database file" in document["hints"][0]


async def test_apply_makes_what_is_missing_once(place, topology):
    code, document, states = await topology("apply")
    assert (Exit.OK, {"talk": "there", "talk.dlq": "there"}) == (code, states)
    assert ["talk", "talk.dlq"] == document["made"]
    _, document, _ = await topology("apply")
    assert [] == document["made"]
    assert [3, 1] == [each["partitions"] for each in document["channels"]]
    assert not place.file.exists()


async def test_apply_leaves_what_is_there_as_it_is(place, topology):
    place.make("talk", 5)
    _, document, _ = await topology("apply")
    assert ["talk.dlq"] == document["made"]
    assert 5 == document["channels"][0]["partitions"]


async def test_another_broker_may_be_named(place, topology, kafka_url):
    url = kafka_url.replace("prefix=", "prefix=other-") + "&partitions=2"
    _, document, _ = await topology("plan", "--transport", url)
    assert 2 == document["channels"][0]["partitions"]
    assert "other-" not in document["transport"]


async def test_check_finds_nothing_where_all_is_as_it_was(place, topology):
    await place.run(Said("a"))
    assert Exit.OK == (await topology("check"))[0]


async def test_check_finds_a_channel_that_is_missing(place, topology):
    await place.run(Said("a"))
    place.delete("talk.dlq")
    code, _, states = await topology("check")
    assert (Exit.FOUND, "missing") == (code, states["talk.dlq"])


async def test_check_finds_added_partitions_and_names_the_fix(place, topology):
    await place.run(Said("a"))
    place.grow("talk", 4)
    code, document, states = await topology("check")
    assert (Exit.FOUND, "grown") == (code, states["talk"])
    assert (3, 4) == (document["channels"][0]["noted"], document["channels"][0]["partitions"])
    assert "eventseam topology accept talk grown_app:create" == document["channels"][0]["fix"]


async def test_check_finds_a_channel_that_was_made_again(place, topology):
    await place.run(Said("a"))
    place.delete("talk")
    await asyncio.sleep(0.5)
    place.make("talk", 3)
    code, document, states = await topology("check")
    assert (Exit.FOUND, "remade") == (code, states["talk"])
    assert "eventseam journal accept-gap ears/3@bus" == document["channels"][0]["fix"]


async def test_check_says_of_a_channel_with_fewer_partitions_that_it_was_made_again(place, topology, capsys):
    await place.run(Said("a"))
    place.delete("talk")
    await asyncio.sleep(0.5)
    place.make("talk", 2)
    code, document, states = await topology("check")
    assert (Exit.FOUND, "remade") == (code, states["talk"])
    assert "eventseam journal accept-gap ears/3@bus" == document["channels"][0]["fix"]
    sys.modules.pop("grown_app", None)
    await asyncio.to_thread(command, "topology", "check", "grown_app:create")
    assert "talk is remade. Make it with 3 partitions again. Run: eventseam journal" in capsys.readouterr().out


async def test_check_needs_the_database(place, topology):
    code, error, _ = await topology("check")
    assert Exit.STORAGE == code
    assert "there is no database file" in error


async def test_an_app_without_a_broker_is_told_to_name_one(place, topology):
    place.module.write_text(place.module.read_text().replace(repr(place.url), "'journal:'"))
    code, error, _ = await topology("plan")
    assert Exit.WIRING == code
    assert "journal on SQLite. There is no broker to look at. Name one: --transport" in error


@pytest.mark.parametrize("verb", ["plan", "apply", "check"])
@pytest.mark.parametrize("url", ["kafka://me:SeCrEt@host", "kafka+tls://me:Se/CrEt@host", "kafk://me:SeCrEt@host"])
async def test_a_password_that_was_typed_is_not_shown(place, capsys, verb, url):
    code = await asyncio.to_thread(command, "topology", verb, "grown_app:create", "--transport", url, "--debug")
    told = "".join(capsys.readouterr())
    assert code in (Exit.WIRING, Exit.STORAGE)
    assert "CrEt" not in told
