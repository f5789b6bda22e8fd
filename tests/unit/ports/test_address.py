"""The URL of a broker is read whole, or refused with a fix that repeats no password."""

from __future__ import annotations

import pytest

from eventseam import SettingsError
from eventseam.ports.address import Scheme, read_address

SCHEME = Scheme("kafka", 9092, ("prefix", "partitions", "groups"))

WRONG = {
    "kafka://me:SeCrEt@host:port": "names no host",
    "kafka://me:SeCrEt@": "names no host",
    "kafka+tls://me:SeCrEt@:9093": "names no host",
    "kafka+tls://me:SeCrEt@::1": "names no host",
    "kafka+tls://me:SeCrEt@[::1": "cannot be read",
    "kafka+tls://me:SeCrEt@host,": "names no host",
    "kafka+tls://me:SeCrEt@host/path": "cannot be read",
    "kafka+tls://me:Se/CrEt@host": "cannot be read",
    "kafka+tls://me:SeCrEt#x@host": "cannot be read",
    "kafka+ssl://me:SeCrEt@host": "cannot be read",
    "kafka+tls://me:SeCrEt@host?partitions": "cannot be read",
    "kafka+tls://me:SeCrEt@host?ca=": "has an empty ca. Give it a value",
    "kafka+tls://me:SeCrEt@host?partitons=3": "no option 'partitons'. It has: ca, certificate, groups, key, partitions",
    "kafka+tls://me:x@host?password=SeCrEt": "no option 'password'",
    "kafka://me:SeCrEt@host": r"password in the clear. Write kafka\+tls://",
    "kafka://me:SeCrEt@127.0.0.1,host": "password in the clear",
    "kafka://me:SeCrEt@127.0.0.1:99999": "names a port that cannot be: it is from 1 to 65,535",
    "kafka://me:SeCrEt@127.0.0.1:0": "a port that cannot be",
    "kafka://me:SeCrEt@127.0.0.1:" + "9" * 5_000: "a port that cannot be",
    "kafka://me:70000": "a port that cannot be",
    "kafka://SeCrEt@127.0.0.1": "has no password. Write USER:PASSWORD@HOST, or HOST alone",
    "kafka://:SeCrEt@127.0.0.1": "has no user. Write USER:PASSWORD@HOST, or HOST alone",
    "kafka+tls://me:SeCrEt@host?prefix=a&prefix=b": "has prefix twice. Leave one out",
    "kafka://host?ca=ca.pem": r"files of TLS, but no TLS. Write kafka\+tls://",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url):
    with pytest.raises(SettingsError, match=WRONG[url]) as raised:
        read_address(url, SCHEME)
    assert "CrEt" not in str(raised.value)


@pytest.mark.parametrize("text", ["0", "1001", "-1", "x", "1.5", "\N{ARABIC-INDIC DIGIT ONE}\N{SUPERSCRIPT TWO}"])
def test_a_number_out_of_its_range_is_refused(text):
    with pytest.raises(SettingsError):
        read_address(f"kafka://host?partitions={text}", SCHEME).number("partitions", 6)


@pytest.mark.parametrize("text", ["a%20b", "a/b", "%C3%A9", "a%0A", "a" * 101])
def test_a_prefix_that_no_name_can_begin_with_is_refused(text):
    with pytest.raises(SettingsError, match="it must be up to 100 letters"):
        _ = read_address(f"kafka://host?prefix={text}", SCHEME).prefix


def test_a_prefix_of_letters_that_names_may_have_is_taken():
    assert "" == read_address("kafka://host", SCHEME).prefix
    assert "Shop_1.a-" == read_address("kafka://host?prefix=Shop_1.a-", SCHEME).prefix


def test_a_flag_is_true_or_false_and_nothing_else():
    assert not read_address("kafka://host", SCHEME).flag("groups")
    assert read_address("kafka://host?groups=true", SCHEME).flag("groups")
    with pytest.raises(SettingsError, match="groups='yes': it must be true or false"):
        read_address("kafka://host?groups=yes", SCHEME).flag("groups")


def test_every_part_of_a_url_is_read():
    address = read_address(
        "kafka+tls://me%40home:p%2Fw%3A1@one,two:1,[::1]:2,[::2]/?ca=ca.pem&key=k.pem&certificate=c.pem&prefix=a.&partitions=3",
        SCHEME,
    )
    assert ("one:9092", "two:1", "[::1]:2", "[::2]:9092") == address.hosts
    assert (True, "me@home", "p/w:1") == (address.is_tls, address.user, address.password)
    assert {"prefix": "a.", "partitions": "3"} == address.options
    assert {"ca": "ca.pem", "key": "k.pem", "certificate": "c.pem"} == address.files
    assert (3, 7) == (address.number("partitions", 6), address.number("replicas", 7))
    assert "one:9092, two:1, [::1]:2, [::2]:9092" == address.shown


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]"])
def test_a_password_may_go_in_the_clear_to_this_machine(host):
    assert "word" == read_address(f"kafka://me:word@{host}", SCHEME).password
