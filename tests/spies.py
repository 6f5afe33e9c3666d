"""What passes between two sites: said, heard, copied on its way, and sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from sites import Site
from sqlalchemy import Connection
from waiting import wait_for

from distren.amqp.peers import OUTBOUND
from distren.federation import receiver
from distren.server.federation import Federation
from distren.wire.jobs import ShowJob

Message = tuple[bytes, pika.BasicProperties]


class Ear:
    """Notes the numbers that a site is sent; it commits them to nothing but memory."""

    def __init__(self, at: Site | None = None) -> None:
        self.heard: list[int] = []
        if at is not None:
            at.server.federation.on(ShowJob, self._hear)

    @classmethod
    def from_the_start(cls, monkeypatch: pytest.MonkeyPatch) -> Ear:
        """Of a server that is started next."""
        ear, start = cls(), Federation.start

        def start_listening(federation: Federation) -> None:
            federation.on(ShowJob, ear._hear)
            start(federation)

        monkeypatch.setattr(Federation, "start", start_listening)
        return ear

    def _hear(self, connection: Connection, peer: str, message: ShowJob) -> receiver.After:
        return lambda: self.heard.append(message.job)


def say(source: Site, target: Site, numbers: range) -> None:
    server = source.server.federation
    with source.engine.begin() as connection:
        for number in numbers:
            server.send(connection, target.name, ShowJob(job=number))
    server.wake()


def settled(*two: Site) -> Callable[[], bool]:
    alpha, beta = two

    def nothing_is_left() -> bool:
        queues = [*alpha.waiting(beta.name).values(), *beta.waiting(alpha.name).values()]
        return not any(queues) and alpha.peer(beta.name).owed == beta.peer(alpha.name).owed == 0

    return nothing_is_left


@contextmanager
def channel(at: Site, peer: str) -> Iterator[BlockingChannel]:
    """A channel to the virtual host of a peer on the broker of `at`."""
    connection = pika.BlockingConnection(pika.URLParameters(at.broker.url_of(at.peer_vhost(peer))))
    try:
        yield connection.channel()
    finally:
        connection.close()


def eavesdrop(source: Site, target: Site, act: Callable[[], None]) -> list[Message]:
    """Copies of the numbered messages that `act` makes `source` send."""
    with channel(source, target.name) as own:
        spy = own.queue_declare("", exclusive=True).method.queue
        own.queue_bind(spy, OUTBOUND, target.name)
        act()
        taken: dict[int, Message] = {}

        def all_taken() -> bool:
            while (message := own.basic_get(spy, auto_ack=True))[0] is not None:
                number = (message[1].headers or {}).get("distren-number")
                if number is not None:
                    taken[number] = (message[2], message[1])
            return bool(taken) and source.peer(target.name).owed == 0

        wait_for(all_taken)
    return [taken[number] for number in sorted(taken)]


def replay(at: Site, peer: Site, messages: list[Message]) -> None:
    """Put messages into the queue at `at` that those of `peer` arrive in."""
    with channel(at, peer.name) as own:
        for body, properties in messages:
            own.basic_publish("", f"inbound.{peer.name}", body, properties)
