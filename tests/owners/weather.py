"""A Kafka broker whose clients reach it by a proxy, in a process of its own: restarted, cut off and silent at random.

The stage forks its processes, so that nothing in it may have threads or a client of Kafka. It talks to this one by
files in its folder: `url` is where the broker is, `calm` ends the bad weather, `drained` says that nothing is left to
read, and `weather.json` counts what happened.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import msgspec

from eventseam import Seams, Settings
from eventseam.app.stores import open_broker
from eventseam.testing.kafka import kafka
from tests.owners.writers import PREFIX
from tests.support.file import unfinished
from tests.support.postgres import query
from tests.support.proxy import HOST, Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from eventseam.ports.transport import Broker
    from eventseam.testing.kafka import StartedKafka

CURSORS = "SELECT reader, slot, cursor FROM positions WHERE reader = 'draw/6@bus'"
LEFT = "SELECT count(*) FROM unsettled"


@dataclass
class Weather:
    """How often it happened: broker killed and started, connections reset, refused for a while, silent for a while."""

    restarts: int = 0
    cuts: int = 0
    refusals: int = 0
    silences: int = 0


def rage(folder: Path, url: str, seed: int) -> None:
    """Run the broker until this process is ended."""
    with Proxy(0) as proxy:
        settings = {"advertised.listeners": f"PLAINTEXT://{HOST}:{proxy.port}"}
        with kafka(settings=settings) as server:
            proxy.target = server.port
            (folder / "url.part").write_text(f"kafka://{HOST}:{proxy.port}")
            (folder / "url.part").rename(folder / "url")
            had = Weather()
            chance = random.Random(seed)
            while not (folder / "calm").exists():
                time.sleep(chance.uniform(0.5, 2.0))
                _strike(server, proxy, had, chance)
            (folder / "weather.json").write_text(json.dumps(asdict(had)))
            asyncio.run(_wait(folder, f"kafka://{HOST}:{server.port}", url))


def _strike(server: StartedKafka, proxy: Proxy, had: Weather, chance: random.Random) -> None:
    kind = chance.choices(("cut", "refuse", "swallow", "restart"), (4, 2, 2, 2))[0]
    if kind == "cut":
        had.cuts += proxy.cut() > 0
    elif kind == "refuse":
        had.refusals += 1
        proxy.refuse()
        time.sleep(chance.uniform(0.2, 1.0))
    elif kind == "swallow":
        had.silences += 1
        proxy.swallow(requests=chance.random() < 0.5)
        time.sleep(chance.uniform(0.2, 2.5))
        if chance.random() < 0.5:
            proxy.cut()  # what was held is never delivered
    else:
        had.restarts += 1
        server.kill()
        time.sleep(chance.uniform(0.0, 1.0))
        server.start()
    proxy.heal()


async def _wait(folder: Path, address: str, url: str) -> None:
    """Say when everything that was written is relayed, and everything that was relayed is handled."""
    broker = open_broker(Settings(transport=f"{address}?prefix={PREFIX}"), Seams(), {})
    await broker.open()
    while not (await _is_drained(broker, url) and await _is_drained(broker, url)):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.1)
    (folder / "drained").touch()
    await asyncio.get_running_loop().create_future()


async def _is_drained(broker: Broker, url: str) -> bool:
    if unfinished(url) or query(url, LEFT)[0][0]:
        return False
    at = {slot: tuple(map(tuple, msgspec.json.decode(text))) for _, slot, text in query(url, CURSORS)}
    return len(at) == broker.partitions and not any((await broker.behind(at)).values())
