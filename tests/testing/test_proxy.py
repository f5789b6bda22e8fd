"""The proxy fails exactly as it is told, and not otherwise."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from tests.support.proxy import HOST, Proxy

SILENCE_SECONDS = 0.1


class Echo:
    """Answers every byte with itself, and keeps what it was sent."""

    def __init__(self):
        self.heard = b""
        self.arrived = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with closing(connection):
            try:
                while chunk := connection.recv(65_536):
                    self.heard += chunk
                    self.arrived.set()
                    connection.sendall(chunk)
            except OSError:
                return

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo():
    with closing(Echo()) as server:
        yield server


@pytest.fixture
def proxy(echo):
    with Proxy(echo.port) as made:
        yield made


@pytest.fixture
def client(proxy):
    with closing(connect(proxy)) as connection:
        assert b"hello" == ask(connection, b"hello")
        yield connection


def connect(proxy):
    return socket.create_connection((HOST, proxy.port), timeout=5)


def ask(connection, words):
    connection.sendall(words)
    return receive(connection, len(words))


def receive(connection, count):
    got = b""
    while len(got) < count and (chunk := connection.recv(count - len(got))):
        got += chunk
    return got


def is_refused(proxy):
    try:
        with closing(connect(proxy)) as connection:
            return ask(connection, b"anyone?") == b""
    except OSError:
        return True


def is_silent(connection):
    connection.settimeout(SILENCE_SECONDS)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def test_a_megabyte_comes_through_whole(client):
    words = bytes(range(256)) * 4096
    sender = threading.Thread(target=client.sendall, args=(words,))
    sender.start()
    assert words == receive(client, len(words))
    sender.join()


def test_an_end_of_input_is_passed_on_after_the_last_answer(client):
    client.sendall(b"bye")
    client.shutdown(socket.SHUT_WR)
    assert b"bye" == receive(client, 100)


def test_a_cut_resets_what_is_open_and_lets_new_connections_through(proxy, client):
    assert 1 == proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with closing(connect(proxy)) as another:
        assert b"again" == ask(another, b"again")


def test_a_refusal_lasts_until_it_is_healed(proxy, client):
    proxy.refuse()
    assert is_refused(proxy)
    proxy.heal()
    with closing(connect(proxy)) as another:
        assert b"again" == ask(another, b"again")


def test_what_is_swallowed_arrives_once_after_healing(proxy, client, echo):
    proxy.swallow()
    client.sendall(b"late")
    assert is_silent(client)
    assert b"hello" == echo.heard
    proxy.heal()
    assert b"late" == receive(client, 4)
    assert b"hellolate" == echo.heard


def test_with_answers_swallowed_the_request_still_arrives(proxy, client, echo):
    proxy.swallow(requests=False)
    echo.arrived.clear()
    client.sendall(b"commit")
    assert echo.arrived.wait(5)
    assert is_silent(client)
    proxy.cut()
    assert b"hellocommit" == echo.heard


def test_a_url_by_way_of_the_proxy_keeps_all_but_the_address(proxy):
    url = proxy.url("postgresql://ann:secret@127.0.0.1:5432/shop?options=-csearch_path%3Dx")
    assert f"postgresql://ann:secret@127.0.0.1:{proxy.port}/shop?options=-csearch_path%3Dx" == url
