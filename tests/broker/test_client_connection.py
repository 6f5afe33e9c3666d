"""What a client's connection leaves at the broker while it listens, and afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest
from waiting import wait_for

from distren.amqp import requests, topology
from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.broker.management import Management
from distren.client.connection import Connection
from distren.errors import Conflict, NoAnswer
from distren.wire.codec import Message, decode
from distren.wire.jobs import Change, Describe, Description, Problem, ShowJob, ShownJob

PATIENCE = 60.0


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


class SlowServer:
    """Says who it is as long as it is `there`, and refuses a change once it has been asked that three times or more."""

    def __init__(self, url: str) -> None:
        self.there, self.asked, self.changes = True, 0, 0
        self._change: Delivery | None = None
        queues = [queue for queue in topology.SERVER_QUEUES if queue.name == topology.REQUESTS]
        self.link = Link(url, name="slow server", queues=queues)
        self.link.consume(
            Consumer(queue=topology.REQUESTS, tag="requests", on_delivery=self._on_request, automatic=True)
        )
        self.link.start()

    def _on_request(self, delivery: Delivery) -> None:
        message = decode(delivery.body)
        if isinstance(message, Change):
            self._change = delivery
            self.changes += 1
        elif self.there and isinstance(message, Describe):
            self.asked += 1
            self._reply(delivery, Description(server="alpha", software="0", renderers={}))
        if self.asked >= 3:
            self.refuse()

    def refuse(self) -> None:
        """Answer the last change that came."""
        if self._change is not None:
            self._reply(self._change, Problem(error="Conflict", text="it is done"))

    def _reply(self, delivery: Delivery, message: Message) -> None:
        assert delivery.reply_to is not None
        self.link.publish(
            Outgoing(
                exchange=topology.DEFAULT,
                key=delivery.reply_to,
                body=message.encode(),
                correlation_id=delivery.correlation_id,
                type=message.type,
            )
        )


def test_a_change_that_takes_long_is_waited_for_as_long_as_the_server_is_there(vhost_url: str) -> None:
    server, connection = SlowServer(vhost_url), Connection(vhost_url)
    connection.start()
    try:
        with pytest.raises(Conflict, match="it is done"):
            connection.ask(Change(job=1, action="cancel"), ShownJob, 0.2)
        asked = server.asked
        assert asked >= 3
        with pytest.raises(NoAnswer):
            connection.ask(ShowJob(job=1), ShownJob, 0.2)
        assert server.asked == asked  # whatever else is asked is not waited for
    finally:
        connection.close()
        server.link.close()


def test_what_was_asked_when_the_connection_broke_is_asked_again(vhost_url: str, management: Management) -> None:
    """The reply was on its way to a queue that went with the connection."""
    server, connection = SlowServer(vhost_url), Connection(vhost_url)
    connection.start()
    vhost = urlsplit(vhost_url).path.removeprefix("/")
    try:
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(connection.ask, Change(job=1, action="cancel"), ShownJob)
            wait_for(lambda: server.changes == 1)
            wait_for(lambda: management.close_connections(vhost) >= 2)
            wait_for(lambda: server.changes >= 2)
            server.refuse()
            with pytest.raises(Conflict, match="it is done"):
                asking.result(PATIENCE)
    finally:
        connection.close()
        server.link.close()


def test_a_change_is_not_waited_for_where_no_server_is(vhost_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_SHORT", 0.2)
    server, connection = SlowServer(vhost_url), Connection(vhost_url)
    server.there = False
    connection.start()
    try:
        with pytest.raises(NoAnswer, match="is it running"):
            connection.ask(Change(job=1, action="cancel"), ShownJob, 0.2)
    finally:
        connection.close()
        server.link.close()
