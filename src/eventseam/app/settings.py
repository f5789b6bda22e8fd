"""Settings: where the database is and how large everything may grow; from code or from EVENTSEAM_* variables.

Secrets are `Secret`s: they never appear in a repr, a log, an error or `describe()`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from eventseam.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

PREFIX = "EVENTSEAM_"
MASK = "***"

BROKERS = ("kafka",)
"""The schemes of broker URLs."""

NUMBERS_MAX: Mapping[str, int] = MappingProxyType(
    {
        "lease_seconds": 86_400,
        "grace_seconds": 86_400,
        "in_flight_max": 1_000_000,
        "batch_max": 100_000,
        "workers": 10_000,
        "parked_lanes_max": 10_000_000,
        "inbox_hours": 876_000,
        "journal_hours": 876_000,
        "dead_letter_hours": 876_000,
    }
)
"""The largest value of each number; all are greater than 0. A hundred years of journal is a journal that is kept."""


class Secret:
    """A text that shows itself only to whoever calls `reveal()`. Two secrets of one text are equal."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep `text`."""
        self._text = text

    def reveal(self) -> str:
        """The text itself. Do not print it."""
        return self._text

    def __repr__(self) -> str:
        """The text with everything secret masked."""
        return f"Secret({redact(self._text)!r})"

    def __str__(self) -> str:
        """The text with everything secret masked."""
        return redact(self._text)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same text."""
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        """Equal secrets have equal hashes."""
        return hash(self._text)


def redact(url: str) -> str:
    """A URL without its password, query and fragment. What a mistake may have made a secret of is masked as well."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return MASK
    if not parts.scheme:
        return MASK
    rest = url.partition(":")[2]
    if not rest:
        return f"{parts.scheme}:"
    if not rest.startswith("//") or _is_misread(parts):
        return f"{parts.scheme}:{MASK}"
    place = parts.hostname or ""
    if port is not None:
        place = f"{place}:{port}"
    if parts.username is not None or parts.password is not None:
        place = f"{parts.username or ''}:{MASK}@{place}"
    return f"{parts.scheme}://{place}{parts.path}{f'?{MASK}' if parts.query else ''}"


def _is_misread(parts: SplitResult) -> bool:
    """Whether a password may stand where none belongs: it has a raw / ? or #, a coded colon, or lacks its host."""
    if parts.scheme == "sqlite" and not parts.netloc:  # a file's name; a drive of Windows has a colon
        return ":" in parts.path and "@" in parts.path
    elsewhere = parts.path + parts.query + parts.fragment
    return "@" in elsewhere or ":" in parts.path or "%3a" in (parts.username or "").lower()


def _secret(text: str | Secret) -> Secret:
    return text if isinstance(text, Secret) else Secret(text)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that may differ between a laptop and production. Raises SettingsError for what cannot be used.

    `durability="normal"` is twice as fast and may lose the last commits at power loss (never at a crash).
    """

    database: str | Secret = field(default_factory=lambda: Secret("sqlite:///eventseam.db"))
    transport: str | Secret = field(default_factory=lambda: Secret("journal:"))
    durability: Literal["full", "normal"] = "full"
    lease_seconds: float = 10.0
    grace_seconds: float = 10.0
    in_flight_max: int = 1_000
    batch_max: int = 500
    workers: int = 32
    parked_lanes_max: int = 100_000
    inbox_hours: float = 24.0
    journal_hours: float = 168.0
    dead_letter_hours: float = 876_000.0

    def __post_init__(self) -> None:
        """Mask the URLs and check the numbers."""
        object.__setattr__(self, "database", _secret(self.database))
        object.__setattr__(self, "transport", _secret(self.transport))
        scheme = self.transport_url.partition(":")[0]
        if scheme not in ("journal", "postgresql", "postgres") and scheme.removesuffix("+tls") not in BROKERS:
            brokers = ", ".join(f"{name}://…" for name in BROKERS)
            raise SettingsError(
                f"transport {redact(self.transport_url)!r} is not available. Leave EVENTSEAM_TRANSPORT out (the "
                f"journal is the bus), or set it to postgresql://… (a database in which services meet), or {brokers}"
            )
        if self.durability not in ("full", "normal"):
            raise SettingsError(f"durability is {self.durability!r}; write full or normal")
        for name, most in NUMBERS_MAX.items():
            _check_number(name, getattr(self, name), most, whole=name in _WHOLE)
        self._check_windows()

    def _check_windows(self) -> None:
        """Raise SettingsError for windows that do not fit each other."""
        if self.inbox_hours * 3_600 < self.lease_seconds:
            raise SettingsError(
                f"inbox_hours is {self.inbox_hours:g} and lease_seconds {self.lease_seconds:g}: the inbox would forget "
                "messages while their old owner is still respected. Set EVENTSEAM_INBOX_HOURS to "
                f"{self.lease_seconds / 3_600:.3g} or more"
            )
        if self.journal_hours < self.inbox_hours:
            raise SettingsError(
                f"journal_hours is {self.journal_hours:g} and inbox_hours {self.inbox_hours:g}: the inbox would "
                "remember messages that the journal cannot publish again. Raise EVENTSEAM_JOURNAL_HOURS, or lower "
                "EVENTSEAM_INBOX_HOURS"
            )

    @property
    def database_url(self) -> str:
        """The database URL, revealed."""
        return _secret(self.database).reveal()

    @property
    def transport_url(self) -> str:
        """The transport URL, revealed."""
        return _secret(self.transport).reveal()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, base: Settings | None = None) -> Settings:
        """`base` (or the defaults) with what EVENTSEAM_* variables say; an unknown one is an error, not a silence."""
        found: dict[str, object] = {}
        known = {each.name for each in fields(cls)}
        for variable, text in (os.environ if environ is None else environ).items():
            if not variable.startswith(PREFIX) or variable.startswith(f"{PREFIX}TEST_") or variable == f"{PREFIX}OLIST":
                continue
            name = variable[len(PREFIX) :].lower()
            if name not in known:
                raise SettingsError(
                    f"{variable} is no setting. Known: {', '.join(PREFIX + n.upper() for n in sorted(known))}"
                )
            found[name] = _parsed(variable, text, getattr(base or cls(), name))
        return replace(base or cls(), **found)  # type: ignore[arg-type]


_WHOLE = frozenset({"in_flight_max", "batch_max", "workers", "parked_lanes_max"})


def _check_number(name: str, value: object, most: int, *, whole: bool) -> None:
    """Raise SettingsError for what is not within (0, most]; not-a-number is not, and neither is infinity."""
    if not isinstance(value, int if whole else int | float) or not 0 < value <= most:
        kind = "a whole number" if whole else "a number"
        message = f"{name} ({PREFIX}{name.upper()}) is {value!r}; it must be {kind} greater than 0 and at most {most}"
        raise SettingsError(message)


def _parsed(variable: str, text: str, default: object) -> object:
    """A variable's text as the type of its default. Raises SettingsError."""
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError as error:
            raise SettingsError(f"{variable} is {text!r}; it must be a number like {default}") from error
    return text
