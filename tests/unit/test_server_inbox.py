"""What a server takes into one turn: results that stream in are gathered, and nothing else waits for that."""

from __future__ import annotations

import threading
import time

import pytest

from distren.amqp.link import Delivery
from distren.amqp.topology import REQUESTS, RESULTS
from distren.config import Settings
from distren.server import daemon
from distren.server.daemon import Server

LONG = 300.0
"""seconds; a test that waited for so long would have failed"""


def delivery(queue: str, tag: int) -> Delivery:
    return Delivery(body=b"", tag=tag, session=1, queue=queue)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(daemon, "GATHER", LONG)
    return Server(Settings(), "amqp://nobody/")


def numbers(taken: list[Delivery]) -> list[int]:
    return [one.tag for one in taken]


def test_results_soon_after_a_turn_are_gathered_until_somebody_asks_for_something(server: Server) -> None:
    inbox = server._inbox
    inbox.put(None)
    server._take(LONG)  # the turn before
    inbox.put(delivery(RESULTS, 1))

    def others() -> None:
        while not inbox.empty():
            time.sleep(0.001)
        inbox.put(delivery(RESULTS, 2))
        inbox.put(delivery(REQUESTS, 3))

    late = threading.Thread(target=others)
    late.start()
    assert numbers(server._take(LONG)) == [1, 2, 3]
    late.join()


def test_a_result_long_after_the_last_turn_is_dealt_with_at_once(server: Server) -> None:
    server._turned = time.monotonic() - 2 * LONG
    server._inbox.put(delivery(RESULTS, 1))
    server._inbox.put(delivery(RESULTS, 2))
    assert numbers(server._take(LONG)) == [1, 2]


def test_what_is_due_does_not_wait_for_more_results(server: Server) -> None:
    server._turned = time.monotonic()
    server._inbox.put(delivery(RESULTS, 1))
    assert numbers(server._take(0.0)) == [1]
