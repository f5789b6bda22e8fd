"""A test server held by another process: `python -m tests.support.held`: says where it is, ends with its input."""

from __future__ import annotations

import json
import sys

from eventseam.testing.servers import postgres

if __name__ == "__main__":
    with postgres() as server:
        print(json.dumps({"pid": server.pid, "url": server.url, "data": str(server.data)}), flush=True)
        sys.stdin.read()
