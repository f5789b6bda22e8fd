"""Django's settings, with the database of EVENTSEAM_DATABASE."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from eventseam import Settings


def database(url: str) -> dict[str, object]:
    """A database URL as Django writes it."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": parts.path.removeprefix("/"),
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},  # every atomic block begins with the write lock
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),  # the schema too: both sides use one journal
    }


DATABASES = {"default": database(Settings.from_env().database_url)}
INSTALLED_APPS = ["examples.django_shop"]
ROOT_URLCONF = "examples.django_shop.urls"
SECRET_KEY = "an example keeps no secrets"  # noqa: S105 - nothing is signed here
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
