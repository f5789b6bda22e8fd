"""A small JSON server and client from the standard library: one port per service, one connection per caller and thread.

A service that cannot be reached, or answers too late, is a ServiceDown to its caller. Nothing is ever tried again: that
is what "synchronous" means here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec

LOCAL = "127.0.0.1"
BODY_BYTES_MAX = 1_048_576


class Reply(NamedTuple):
    """A status, and the message that goes with it (as JSON once it has travelled)."""

    status: HTTPStatus
    body: Any = None


Route = Callable[[bytes], Reply]


class ServiceDown(Exception):  # noqa: N818 - a state of the other side, as its caller sees it
    """The other service did not answer: refused, closed, too late, or 503."""


class _Server(ThreadingHTTPServer):
    """A thread per connection; hundreds of callers may connect at once."""

    daemon_threads = True
    request_queue_size = 256


@contextmanager
def serving(routes: Mapping[str, Route]) -> Generator[int]:
    """A service on a free port of this machine, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet, or the caller waits for its delayed acknowledgement
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            size = min(int(self.headers["Content-Length"]), BODY_BYTES_MAX)
            reply = routes[self.path](self.rfile.read(size))
            body = msgspec.json.encode(reply.body)
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing: there are twenty thousand calls."""

    server = _Server((LOCAL, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Peer:
    """Another service, as its caller knows it: a port. Safe from every thread; each has a connection of its own."""

    def __init__(self, port: int, *, timeout_seconds: float = 2.0) -> None:
        """Know the port; the first call of each thread connects."""
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._own = threading.local()
        self._connections: list[HTTPConnection] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()

    def post(self, path: str, message: msgspec.Struct) -> Reply:
        """Send `message` and wait for the reply. Raises ServiceDown."""
        connection = self._connection()
        try:
            connection.request("POST", path, msgspec.json.encode(message))
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            raise ServiceDown(f"{path}: {error}") from error
        if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise ServiceDown(f"{path}: 503")
        return Reply(HTTPStatus(response.status), body)

    def _connection(self) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = HTTPConnection(LOCAL, self._port, timeout=self._timeout_seconds)
            self._connections.append(connection)
        return connection
