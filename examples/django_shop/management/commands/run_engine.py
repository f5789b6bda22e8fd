"""`manage.py run_engine`: the engine, apart from the web processes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from eventseam.cli.main import main


class Command(BaseCommand):
    """What `eventseam run` does, once Django is set up."""

    help = "Run the shop's event handlers until SIGTERM or Ctrl-C, which stop them gracefully."

    def handle(self, *_args: Any, **_options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Run until told to stop."""
        raise SystemExit(main(["run", "examples.django_shop.events:create"]))
