"""The proxy passes everything on, until it is cut or turned into a black hole."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from trials.proxy import HOST, Proxies, Proxy

LIMIT = 60.0


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server((HOST, 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=back, args=(connection,), daemon=True).start()

        def back(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(4096):
                        connection.sendall(data)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    proxies = Proxies()
    yield proxies.open(echo)
    proxies.close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), LIMIT)


def is_refused(proxy: Proxy) -> bool:
    """Whether a new connection ends at once: while it is made, or when something is to come through it."""
    try:
        with connect(proxy) as line:
            return not line.recv(100)
    except ConnectionError:
        return True


def test_what_is_sent_arrives(proxy: Proxy) -> None:
    with connect(proxy) as line:
        line.sendall(b"hello")
        assert line.recv(100) == b"hello"


def test_a_cut_resets_what_is_open_and_refuses_what_comes(proxy: Proxy) -> None:
    with connect(proxy) as line:
        line.sendall(b"hello")
        assert line.recv(100) == b"hello"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            line.recv(100)
    assert is_refused(proxy)
    proxy.heal()
    test_what_is_sent_arrives(proxy)


def test_a_black_hole_says_nothing_and_gives_back_what_it_held(proxy: Proxy) -> None:
    with connect(proxy) as line:
        line.sendall(b"one")
        assert line.recv(100) == b"one"
        proxy.hole()
        line.sendall(b"two")
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(100)
        proxy.heal()
        line.settimeout(LIMIT)
        assert line.recv(100) == b"two"


def test_a_black_hole_may_end_with_a_reset(proxy: Proxy) -> None:
    with connect(proxy) as line:
        line.sendall(b"one")
        assert line.recv(100) == b"one"
        proxy.hole()
        line.sendall(b"two")
        proxy.heal(drop=True)
        with pytest.raises(ConnectionResetError):
            _ = line.recv(100) and line.recv(100)  # what was on its way already, perhaps; then the reset


def test_a_black_hole_may_swallow_one_direction_alone(proxy: Proxy) -> None:
    with connect(proxy) as line:
        line.sendall(b"one")
        assert line.recv(100) == b"one"
        for direction, word in (("back", b"two"), ("there", b"three")):
            proxy.hole([direction])
            line.sendall(word)
            line.settimeout(0.3)
            with pytest.raises(TimeoutError):
                line.recv(100)
            proxy.heal()
            line.settimeout(LIMIT)
            assert line.recv(100) == word
