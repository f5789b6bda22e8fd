"""One URL for both drivers: read as libpq reads it, and refused where the engine's driver could not honour it.

Passwords may also come from PGPASSWORD or ~/.pgpass, as always. What is shown of a URL never contains a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. `asyncpg_dsn` and `libpq` hold secrets; `shown` does not."""

    shown: str
    asyncpg_dsn: str
    libpq: str
    application: str
    options: str


def address_of(url: str) -> Address:
    """Read a `postgresql://` URL. Raises SettingsError, which never repeats a part that may be secret."""
    if url.partition("?")[0].count("@") > 1:  # libpq would take the rest of the password for the host
        raise SettingsError("the URL of the PostgreSQL database has two @: in a password write %40 for @, %2F for /")
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:
        raise SettingsError(f"the URL of the PostgreSQL database cannot be read. Write {_SHAPE}") from None
    _check(given)
    shared = {name: value for name, value in given.items() if name in _SHARED}
    return Address(
        shown=_shown(given),
        asyncpg_dsn=f"postgresql://?{urlencode(shared)}" if shared else "postgresql://",
        libpq=make_conninfo("", **{name: value for name, value in given.items() if name not in _OURS}),
        application=given.get("application_name", ""),
        options=given.get("options", ""),
    )


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
    if "," not in given.get("host", "") and not given.get("port", "0").isdecimal():
        raise SettingsError(f"the port in the URL of the PostgreSQL database is no number. Write {_SHAPE}")


def _shown(given: Mapping[str, str]) -> str:
    place = given.get("host", "localhost")
    if "port" in given:
        place = f"{place}:{given['port']}"
    return f"postgresql {place}/{given.get('dbname', given.get('user', ''))}"
