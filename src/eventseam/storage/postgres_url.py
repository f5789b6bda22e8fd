"""One URL for both drivers: read as libpq reads it, and refused where the engine's driver could not honour it.

Passwords may also come from PGPASSWORD or ~/.pgpass, as always. What is shown of a URL never contains a secret.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from eventseam.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHARED: Final = (
    *("host", "port", "user", "password", "dbname", "passfile", "sslmode", "sslcert", "sslkey", "sslrootcert"),
    *("sslcrl", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("target_session_attrs", "krbsrvname", "gsslib"),
)
"""What both drivers understand in the same way."""

_OURS: Final = ("application_name", "options", "connect_timeout", "client_encoding", "fallback_application_name")
_KEEPALIVE: Final = (
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    "gssencmode",
)
"""What we set ourselves, and what makes no difference for the engine's driver."""

_SHAPE: Final = "postgresql://user:password@host:5432/database"
_THE_URL: Final = "the URL of the PostgreSQL database"
_PORTS: Final = 65_536
_MARKS: Final[Mapping[str, str]] = MappingProxyType({"#": "%23", ":": "%3A"})
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
    }
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. `asyncpg_dsn` and `libpq` hold secrets; `shown` does not."""

    shown: str
    asyncpg_dsn: str
    libpq: str
    application: str
    options: str
    user: str


def address_of(url: str) -> Address:
    """Read a `postgresql://` URL. Raises SettingsError, which never repeats a part that may be secret."""
    _check_shape(url)
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error as error:
        raise SettingsError(_unreadable(url, str(error))) from None
    _check(given)
    shared = {name: value for name, value in given.items() if name in _SHARED}
    return Address(
        shown=_shown(given),
        asyncpg_dsn=f"postgresql://?{urlencode(shared)}" if shared else "postgresql://",
        libpq=make_conninfo("", **{name: value for name, value in given.items() if name not in _OURS}),
        application=given.get("application_name", ""),
        options=given.get("options", ""),
        user=given.get("user") or os.environ.get("PGUSER", "the app"),
    )


def _check_shape(url: str) -> None:
    """Raise SettingsError for what libpq would read otherwise than it was meant."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError(f"{_THE_URL} lacks its //. Write {_SHAPE}")
    place, _, rest = url.partition("://")[2].partition("/")
    path = "" if "?" in place.rpartition("@")[2] else rest.partition("?")[0]
    if place.count("@") > 1 or "@" in path:  # libpq would take the rest of the password for the host, or the database
        raise SettingsError(f"{_THE_URL} has an @ too many, or behind a /: in a password write %40 for @, %2F for /")
    for mark, code in _MARKS.items():
        if mark in path:
            raise SettingsError(f"{_THE_URL} has a {mark} behind its host. Leave it out, or write {code} for it")


def _unreadable(url: str, said: str) -> str:
    """What libpq cannot read: a parameter by its name, unless that may be half a password."""
    if "percent-encoded" in said:
        return f"{_THE_URL} has a % or a space as it is: write %25 for %, %20 for a space"
    name = re.search(r'query parameter: "(\w+)"', said)
    if name is None or "@" in url.partition("://")[2].partition("/")[2]:
        return f"{_THE_URL} cannot be read. Write {_SHAPE}"
    if name[1] == "search_path":
        return f"{_THE_URL} says search_path=…. Write it so: ?options=-csearch_path%3Dshop,public"
    return f"{_THE_URL} has the parameter {name[1]!r}, which libpq does not know, or without a value. Correct it"


def _check(given: Mapping[str, str]) -> None:
    if given.get("channel_binding") == "require":
        raise SettingsError(
            "the URL says channel_binding=require, which the engine's driver (asyncpg) cannot do. Leave it out, and "
            "write sslmode=verify-full: then no other server can stand in for yours"
        )
    for name in given:
        if name not in (*_SHARED, *_OURS, *_KEEPALIVE, "channel_binding"):
            raise SettingsError(
                f"the URL says {name}=…, which the engine's driver (asyncpg) does not know. Leave it out"
            )
    for name, allowed in _CHOICES.items():
        if given.get(name, allowed[0]) not in allowed:
            raise SettingsError(f"{_THE_URL} has an unknown {name}. Write one of {', '.join(allowed)}")
    if not re.fullmatch(r"-?\d{1,9}", given.get("connect_timeout", "0")):
        raise SettingsError(f"{_THE_URL} has a connect_timeout that is no number of seconds")
    for port in given.get("port", "").split(","):
        if port and not (port.isdecimal() and 0 < int(port) < _PORTS):  # the port may be a password without its host
            raise SettingsError(f"{_THE_URL} has a port that is no number from 1 to {_PORTS - 1}. Write {_SHAPE}")


def _shown(given: Mapping[str, str]) -> str:
    place = given.get("host", "localhost")
    if "port" in given:
        place = f"{place}:{given['port']}"
    return f"postgresql {place}/{given.get('dbname', given.get('user', ''))}"
