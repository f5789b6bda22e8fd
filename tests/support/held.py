"""A test server held by another process: `python -m tests.support.held [kafka]`: says where, ends with its input."""

from __future__ import annotations

import json
import sys

from eventseam.testing.kafka import kafka
from eventseam.testing.servers import postgres

if __name__ == "__main__":
    if sys.argv[1:] == ["kafka"]:
        with kafka() as broker:
            print(json.dumps({"pid": broker.pid, "url": broker.url, "data": str(broker.folder / "data")}), flush=True)
            sys.stdin.read()
    else:
        with postgres() as server:
            print(json.dumps({"pid": server.pid, "url": server.url, "data": str(server.data)}), flush=True)
            sys.stdin.read()
