"""What a role may not do with our tables and schemas: the error that names the role and the GRANT that it lacks."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from eventseam.storage.postgres_errors import sqlstate
from eventseam.storage.postgres_home import grant

if TYPE_CHECKING:
    from collections.abc import Mapping

_DENIED: Final = "42501"
_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
_RIGHTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "event_outbox": "SELECT, INSERT, DELETE ON event_outbox",
        "processed_events": "SELECT, INSERT, DELETE ON processed_events",
        "unsettled": f"{_ALL} ON unsettled",
        "positions": f"{_ALL} ON positions",
        "members": f"{_ALL} ON members",
        "eventseam_migrations": "SELECT ON eventseam_migrations",
        "eventseam_journal": "SELECT ON eventseam_journal",
        "eventseam_outbox": "SELECT ON eventseam_outbox",
        "event_outbox_id_seq": "USAGE ON SEQUENCE event_outbox_id_seq",
        "event_outbox_position_seq": "SELECT ON SEQUENCE event_outbox_position_seq",
        "unsettled_id_seq": "USAGE ON SEQUENCE unsettled_id_seq",
    }
)
"""What a process of an app needs."""

_PLACES: Final[Mapping[str, str]] = MappingProxyType(
    {"schema": "USAGE, CREATE ON SCHEMA", "database": "CONNECT ON DATABASE"}
)
_OWNER: Final = "must be owner"


def denied(role: str, error: BaseException) -> str | None:
    """What a refusal means for our tables and the schemas of the search path; None for anything else.

    A server that speaks another language is understood where a name of ours is in what it says.
    """
    if sqlstate(error) != _DENIED:
        return None
    said = str(error).strip().partition("\n")[0].rstrip(".")
    if said.startswith(_OWNER):
        return f"{said}, which the role {role!r} is not. Let the owner do it: eventseam db migrate"
    place = re.search(r" (schema|database) (\S+)$", said)
    if place:
        right = f"{_PLACES[place[1]]} {place[2]}"
    else:
        right = next((_RIGHTS[word] for word in re.findall(r"\w+", said) if word in _RIGHTS), "")
    if not right:
        return None
    return f"{said}, for the role {role!r}. {grant(right, role)}; what else lacks is told by: eventseam db check"
