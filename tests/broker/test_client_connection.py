"""What a client's connection leaves at the broker while it listens, and afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from distren.amqp import topology
from distren.broker.management import Management
from distren.client.connection import Connection

LIMIT = 30.0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def test_the_news_of_a_job_ends_with_the_last_who_listens(vhost_url: str, management: Management) -> None:
    """A program that waits for one job after the other must not pile up bindings, at the broker or in itself."""
    vhost = quote(urlsplit(vhost_url).path.removeprefix("/"), safe="")
    connection = Connection(vhost_url)
    connection.start()

    def keys() -> set[str]:
        found = management.request("GET", f"exchanges/{vhost}/{topology.NEWS}/bindings/source")
        return {one["routing_key"] for one in found}

    try:
        with connection.listening(7, frames=True), connection.listening(8, frames=False):
            wait_for(lambda: keys() == {"job.7", "frame.7", "job.8"})
            with connection.listening(7, frames=False):
                pass
            with connection.listening(8, frames=True):
                wait_for(lambda: keys() == {"job.7", "frame.7", "job.8", "frame.8"})
        wait_for(lambda: keys() == set())
        with connection.listening(7, frames=False):
            wait_for(lambda: keys() == {"job.7"})
    finally:
        connection.close()
