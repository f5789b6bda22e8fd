"""A visit to the Django example, in a process of its own because Django has one set of settings per process.

`apart` goes through Django's test client, with the engine elsewhere; `inside` through ASGI, with the engine in it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import django
import httpx

from tests.support.run import until

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")
GOOD = {"id": "o1", "sku": "mug", "pieces": 2}
WAIT_SECONDS = 30


def prepare():
    from django.core.management import call_command

    from examples.django_shop.models import Item

    call_command("migrate", verbosity=0)
    Item.objects.create(sku="mug", left=10)


def left():
    from examples.django_shop.models import Item, Order

    return Item.objects.get(sku="mug").left, list(Order.objects.order_by("id").values_list("id", "state"))


def apart():
    from django.test import Client
    from django.test.utils import setup_test_environment

    setup_test_environment()
    client = Client(raise_request_exception=False)
    assert 201 == client.post("/orders", GOOD, content_type="application/json").status_code
    assert 500 == client.post("/orders", GOOD, content_type="application/json").status_code  # twice: no second event
    gives_up = time.monotonic() + WAIT_SECONDS
    while client.get("/orders/o1").json()["state"] != "reserved":
        assert time.monotonic() < gives_up
        time.sleep(0.01)


async def inside():
    from asgiref.sync import sync_to_async

    from examples.django_shop.asgi import application

    asked, told = asyncio.Queue(), asyncio.Queue()
    server = asyncio.create_task(application({"type": "lifespan"}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    assert "lifespan.startup.complete" == (await told.get())["type"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://shop") as client:
        assert 201 == (await client.post("/orders", json=GOOD)).status_code

        async def reserved():
            return (await client.get("/orders/o1")).json()["state"] == "reserved"

        await until(reserved)
    await asked.put({"type": "lifespan.shutdown"})
    assert "lifespan.shutdown.complete" == (await told.get())["type"]
    await server
    assert (8, [("o1", "reserved")]) == await sync_to_async(left)()


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "prepare":
        prepare()
    elif sys.argv[1] == "inside":
        prepare()
        asyncio.run(inside())
    else:
        apart()
        assert (8, [("o1", "reserved")]) == left()
