"""The web app with the engine in its process: `uvicorn examples.django_shop.asgi:application`.

Django ignores ASGI's lifespan, so a few lines around it start the engine with the server and stop it with it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.asgi import get_asgi_application

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventseam import App

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")


class WithEngine:
    """An ASGI app beside which the shop runs."""

    def __init__(self, web: Any, create: Callable[[], App]) -> None:  # noqa: ANN401 - any ASGI app
        """Start nothing yet."""
        self._web = web
        self._create = create

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or live as long as the server."""
        if scope["type"] != "lifespan":
            await self._web(scope, receive, send)
            return
        await receive()
        async with self._create().running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _application() -> WithEngine:
    web = get_asgi_application()  # sets Django up, which models need
    from examples.django_shop.events import create

    return WithEngine(web, create)


application = _application()
