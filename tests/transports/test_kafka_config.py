"""Kafka's clients are told what the URL says, verify by default, and tell their user what to repair."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from eventseam import Seams, SettingsError, StorageUnavailable
from eventseam.ports.address import Scheme, read_address
from eventseam.transports.kafka import connect
from eventseam.transports.kafka_client import config_of

SCHEME = Scheme("kafka", 9092, ("sasl",))


def config(url):
    return config_of(read_address(url, SCHEME))


def test_without_tls_or_user_it_is_plain_text():
    assert {"bootstrap.servers": "host:9092,two:1", "security.protocol": "PLAINTEXT"} == config("kafka://host,two:1")


def test_tls_verifies_the_brokers_certificate_and_its_name():
    found = config("kafka+tls://host")
    assert {"bootstrap.servers": "host:9092", "security.protocol": "SSL"} == found  # librdkafka verifies by default
    assert not [name for name in found if "verification" in name or "identification" in name]


def test_the_files_of_tls_are_given_on():
    found = config("kafka+tls://host?ca=ca.pem&certificate=c.pem&key=k.pem")
    assert ("ca.pem", "c.pem", "k.pem") == tuple(found[f"ssl.{name}.location"] for name in ("ca", "certificate", "key"))


@pytest.mark.parametrize(
    "option, mechanism",
    [
        ("", "SCRAM-SHA-512"),
        ("?sasl=scram-sha-512", "SCRAM-SHA-512"),
        ("?sasl=scram-sha-256", "SCRAM-SHA-256"),
        ("?sasl=plain", "PLAIN"),
    ],
)
def test_a_user_is_authenticated_by_scram_unless_another_way_is_named(option, mechanism):
    found = config(f"kafka+tls://me:p%40ss@host{option}")
    assert ("SASL_SSL", mechanism, "me", "p@ss") == tuple(
        found[name] for name in ("security.protocol", "sasl.mechanism", "sasl.username", "sasl.password")
    )


def test_a_user_on_this_machine_needs_no_tls():
    assert "SASL_PLAINTEXT" == config("kafka://me:word@localhost")["security.protocol"]


@pytest.mark.parametrize("url", ["kafka+tls://me:SeCrEt@host?sasl=oauth", "kafka+tls://host?sasl=plain"])
def test_a_way_of_authentication_that_cannot_be_is_refused(url):
    with pytest.raises(SettingsError, match=r"sasl= is one of plain, .* and needs USER:PASSWORD@") as raised:
        config(url)
    assert "SeCrEt" not in str(raised.value)


async def trouble_of(url):
    broker = connect(url, Seams().clock)
    with pytest.raises(StorageUnavailable) as raised:
        await broker.open()
    await broker.close()
    return str(raised.value)


async def test_tls_that_the_broker_does_not_speak_is_told_with_the_fix(kafka_server):
    told = await trouble_of(kafka_server.url.replace("kafka://", "kafka+tls://me:SeCrEt@"))
    assert "SSL handshake failed" in told
    assert told.endswith(
        "The broker speaks no TLS at this port: name its port for TLS, or write kafka:// if it needs none"
    )
    assert "SeCrEt" not in told


@pytest.mark.parametrize("option", ["ca", "certificate", "key"])
async def test_a_file_that_is_not_there_is_named_before_anything_is_reached(option):
    with pytest.raises(SettingsError, match=f"{option}=/nowhere/x.pem: there is no such file. Name one"):
        await connect(f"kafka+tls://127.0.0.1:9?{option}=/nowhere/x.pem", Seams().clock).open()


async def test_a_file_that_holds_something_else_is_named(tmp_path):
    path = tmp_path / "no.pem"
    path.write_text("no certificate")
    with pytest.raises(
        SettingsError, match=f"Kafka's client cannot be made: .*Correct ca={path} of EVENTSEAM_TRANSPORT"
    ):
        await connect(f"kafka+tls://me:SeCrEt@127.0.0.1:9?ca={path}", Seams().clock).open()


def test_a_prefix_that_no_topic_can_have_is_refused():
    with pytest.raises(SettingsError, match="prefix='a b/': it must be"):
        connect("kafka://127.0.0.1:9?prefix=a%20b/", Seams().clock)


@pytest.mark.parametrize("is_configured", [False, True])
def test_what_clients_say_of_each_attempt_is_seen_only_where_logs_are_configured(tmp_path, is_configured):
    start = f"import logging, sys; {'logging.basicConfig(); ' * is_configured}from eventseam.cli.main import main; "
    (tmp_path / "deaf_app.py").write_text(
        "from eventseam import App, Service, Settings\n\n\ndef create():\n"
        "    return App(Service('deaf'), settings=Settings.from_env())\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", start + "sys.exit(main(['topology', 'plan', 'deaf_app:create']))"],
        cwd=tmp_path,
        env={**os.environ, "EVENTSEAM_TRANSPORT": "kafka://127.0.0.1:9", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 4 == told.returncode, told.stderr
    assert is_configured == (len(told.stderr.splitlines()) > 1), told.stderr


async def test_an_address_where_nobody_listens_is_told_with_the_fix():
    told = await trouble_of("kafka://127.0.0.1:9")
    assert "Kafka at 127.0.0.1:9: " in told
    assert told.endswith("Is it running, and is the address of EVENTSEAM_TRANSPORT right?")
