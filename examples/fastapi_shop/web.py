"""The web side: an order and its event are one transaction of SQLAlchemy.

`inside` runs the engine in the web process, `apart` leaves that to `eventseam run`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from eventseam import Overloaded, Settings
from examples.fastapi_shop.shop import Order, OrderPlaced, Reservation, create, orders

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from eventseam import App

PSYCOPG = "postgresql+psycopg"  # it reads all that may stand behind the ? of the URL, such as the schema
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": PSYCOPG, "postgres": PSYCOPG}


class NewOrder(BaseModel):
    """The body of POST /orders."""

    id: str
    sku: str
    pieces: int


def inside() -> FastAPI:
    """The web app, with the engine in it: `uvicorn --factory examples.fastapi_shop.web:inside`."""
    return _web(create())


def apart() -> FastAPI:
    """The web app alone: nothing of Eventseam is started here."""
    return _web(None)


def _web(shop: App | None) -> FastAPI:
    engine = create_async_engine(sqlalchemy_url())

    @asynccontextmanager
    async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
        if shop is None:
            yield
        else:
            async with shop.lifespan(web):  # alone, it would be FastAPI(lifespan=shop.lifespan)
                yield
        await engine.dispose()

    web = FastAPI(lifespan=lifespan)

    @web.post("/orders", status_code=201)
    async def place(new: NewOrder) -> dict[str, str]:
        async with AsyncSession(engine) as session, session.begin():
            session.add(Order(id=new.id, sku=new.sku, pieces=new.pieces))
            message_id = orders.publish(session, OrderPlaced(new.id, new.sku, new.pieces))
            if new.pieces < 1:
                raise HTTPException(422, "order at least one piece")  # and there is neither order nor event
        return {"message_id": message_id}

    @web.get("/orders/{order_id}")
    async def show(order_id: str) -> dict[str, object]:
        async with AsyncSession(engine) as session:
            if await session.get(Order, order_id) is None:
                raise HTTPException(404)
            return {"id": order_id, "reserved": await session.get(Reservation, order_id) is not None}

    @web.exception_handler(Overloaded)
    async def busy(_request: Request, error: Overloaded) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503)

    return web


def sqlalchemy_url() -> str:
    """EVENTSEAM_DATABASE as SQLAlchemy writes it."""
    scheme, _, place = Settings.from_env().database_url.partition("://")
    return f"{DRIVERS[scheme]}://{place}"
