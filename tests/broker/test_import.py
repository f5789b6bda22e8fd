"""What a program that names no Kafka never pays for: its client and our transport are imported by its URL alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, sys
import eventseam.cli.main
from eventseam import App, Channel, Service, Settings
from eventseam.app.bus import bus_of

async def run(app):
    async with app.running():
        pass

transport, database = sys.argv[1:]
app = App(Service("ears"), settings=Settings(database=database, transport=transport))
if transport == "journal:":
    asyncio.run(run(app))
else:
    bus_of(app)
print(*sorted({"confluent_kafka", "eventseam.transports.kafka"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "transport, expected",
    [
        ("journal:", []),
        ("postgresql://127.0.0.1:1/bus", []),
        ("kafka://127.0.0.1:1", ["confluent_kafka", "eventseam.transports.kafka"]),
    ],
)
def test_kafka_is_imported_by_its_url_alone(transport, expected, tmp_path):
    database = f"sqlite:///{tmp_path / 'ears.db'}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, transport, database], check=True, capture_output=True, text=True
    )
    assert expected == done.stdout.split()
