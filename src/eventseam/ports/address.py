"""The URL of a broker, read the same way for all of them: `scheme[+tls]://[user:password@]host[:port],…[/][?option=value]`.

No error repeats the URL: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from eventseam.errors import SettingsError

_NUMBER_MAX = 1_000
_PORT_MAX = 65_535
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")
_LOOPBACK = ("127.", "localhost", "[::1]")
_FILES = ("ca", "certificate", "key")


class Scheme(NamedTuple):
    """How URLs of one kind of broker look: its name, the usual port, and the options it knows."""

    name: str
    port: int
    options: Collection[str]


class Address(NamedTuple):
    """What a URL says. `hosts` are `name:port`, and safe to show; `files` are those of TLS: ca, certificate, key."""

    hosts: tuple[str, ...]
    is_tls: bool
    user: str
    password: str
    options: Mapping[str, str]
    files: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The hosts, as errors show them."""
        return ", ".join(self.hosts)

    @property
    def is_loopback(self) -> bool:
        """Whether nothing leaves this machine."""
        return all(host.startswith(_LOOPBACK) for host in self.hosts)

    @property
    def prefix(self) -> str:
        """What stands before every name at the broker, of letters that all of them take. Raises SettingsError."""
        text = self.options.get("prefix", "")
        if not _PREFIX.fullmatch(text):
            raise SettingsError(
                f"EVENTSEAM_TRANSPORT says prefix={text[:20]!r}: it must be up to 100 letters (A to Z), digits, '.', "
                "'_' or '-'"
            )
        return text

    def flag(self, name: str) -> bool:
        """An option that is true or false, and false where it is left out. Raises SettingsError."""
        text = self.options.get(name, "false")
        if text not in ("true", "false"):
            raise SettingsError(f"EVENTSEAM_TRANSPORT says {name}={text[:20]!r}: it must be true or false")
        return text == "true"

    def number(self, name: str, default: int) -> int:
        """An option that is a whole number from 1 to 1,000. Raises SettingsError."""
        text = self.options.get(name)
        if text is None:
            return default
        if not text.isdecimal() or not 1 <= int(text) <= _NUMBER_MAX:
            raise SettingsError(f"EVENTSEAM_TRANSPORT says {name}={text[:20]!r}: it must be from 1 to {_NUMBER_MAX:,}")
        return int(text)


def read_address(url: str, scheme: Scheme) -> Address:
    """Read a URL. Raises SettingsError for what cannot be read, and for a password that would travel in the clear.

    TLS is `+tls`; the files of TLS are the options ca, certificate and key.
    """
    name = scheme.name
    example = f"Write EVENTSEAM_TRANSPORT={name}://HOST:{scheme.port}, or {name}+tls://USER:PASSWORD@HOST:{scheme.port}"
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise SettingsError(f"the URL of the transport cannot be read. {example}") from None
    if parts.scheme not in (name, f"{name}+tls") or parts.path not in ("", "/") or parts.fragment:
        raise SettingsError(f"the URL of the transport cannot be read. {example}")
    options = _options(pairs, scheme)
    who, _, hosts = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    address = Address(
        hosts=tuple(_with_port(host, scheme.port, example) for host in hosts.split(",")),
        is_tls=parts.scheme.endswith("+tls"),
        user=unquote(user),
        password=unquote(password),
        options={key: value for key, value in options.items() if key not in _FILES},
        files={key: options[key] for key in _FILES if key in options},
    )
    if address.files and not address.is_tls:
        raise SettingsError(f"the URL of the transport has files of TLS, but no TLS. Write {name}+tls://…")
    if address.password and not (address.is_tls or address.is_loopback):
        raise SettingsError(f"the URL of the transport would send its password in the clear. Write {name}+tls://…")
    if bool(address.user) != bool(address.password):
        missing = "password" if address.user else "user"
        raise SettingsError(f"the URL of the transport has no {missing}. Write USER:PASSWORD@HOST, or HOST alone")
    return address


def _options(pairs: Sequence[tuple[str, str]], scheme: Scheme) -> dict[str, str]:
    """The options of a URL: each is known, is there once and has a value."""
    known = sorted({*scheme.options, *_FILES})
    options: dict[str, str] = {}
    for key, value in pairs:
        if key not in known:
            raise SettingsError(f"a {scheme.name} transport has no option {key[:40]!r}. It has: {', '.join(known)}")
        if not value:
            raise SettingsError(f"the URL of the transport has an empty {key}. Give it a value, or leave it out")
        if key in options:
            raise SettingsError(f"the URL of the transport has {key} twice. Leave one out")
        options[key] = value
    return options


def _with_port(host: str, default: int, example: str) -> str:
    """A host with its port, which an address of IPv6 has behind its brackets."""
    has_port = ":" in host and not host.endswith("]")
    name, _, port = host.rpartition(":") if has_port else (host, "", str(default))
    if not name or not (port.isascii() and port.isdecimal()) or (":" in name and not name.endswith("]")):
        raise SettingsError(f"the URL of the transport names no host that can be read. {example}")
    if len(port) > len(str(_PORT_MAX)) or not 1 <= int(port) <= _PORT_MAX:
        raise SettingsError(f"the URL of the transport names a port that cannot be: it is from 1 to {_PORT_MAX:,}")
    return f"{name}:{port}"
