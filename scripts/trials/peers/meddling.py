"""Meddles with the messages between two servers, as a broker or a shovel that goes mad would."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar
from urllib.parse import quote

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from distren.amqp import peers
from distren.errors import DistrenError
from trials.peers.sites import Site, Sites

TAP = "trial.tap"
"""a queue beside outbound.<peer> that keeps copies of the latest messages"""
_KEPT = {"x-max-length": 400, "x-max-length-bytes": 24 * 2**20}
_PATIENCE = 90.0
"""seconds that a broker may take to answer: it may have just been killed"""
Message = tuple[bytes, pika.BasicProperties]
Result = TypeVar("Result")


@contextmanager
def channel(site: Site, peer: str) -> Iterator[BlockingChannel]:
    """A channel to the virtual host for a peer. Raises AMQPError, OSError."""
    connection = pika.BlockingConnection(pika.URLParameters(site.vhost_url(peer)))
    try:
        yield connection.channel()
    finally:
        with suppress(AMQPError):
            connection.close()


def insist(act: Callable[[], Result]) -> Result:
    """Do something with a broker, again where it was not there."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return act()
        except (AMQPError, OSError, DistrenError):
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


class Meddler:
    """Every method names the site that messages come from, and the peer that they are for."""

    def __init__(self, sites: Sites, seed: int) -> None:
        self._sites, self._random = sites, random.Random(f"meddler {seed}")

    def open_taps(self) -> None:
        for site in self._sites:
            for peer in self._sites.shape.neighbours(site.name):
                with channel(site, peer) as own:
                    own.queue_declare(TAP, durable=True, arguments=_KEPT)
                    own.queue_bind(TAP, peers.OUTBOUND, peer)

    def close_taps(self) -> None:
        for site in self._sites:
            for peer in self._sites.shape.neighbours(site.name):
                insist(lambda site=site, peer=peer: _delete_tap(site, peer))

    def replay(self, site: str, peer: str) -> None:
        """What was sent of late arrives again, as it was sent or mixed."""
        old = insist(lambda: _take(self._sites[site], peer, TAP))
        if self._random.random() < 0.5:
            self._random.shuffle(old)
        insist(lambda: _put(self._sites[peer], site, peers.inbound(site).name, old))

    def duplicate(self, site: str, peer: str, goes_on: Callable[[float], bool]) -> None:
        """Each message is sent twice, as long as `goes_on`."""
        while goes_on(0.05):
            copies = insist(lambda: _take(self._sites[site], peer, TAP))
            insist(lambda copies=copies: _put(self._sites[site], peer, peers.outbound(peer).name, copies))  # type: ignore[misc]
            insist(lambda: _take(self._sites[site], peer, TAP))

    def mix(self, site: str, peer: str) -> None:
        """What waits for the line waits in another order."""
        queue = peers.outbound(peer).name
        waiting = insist(lambda: _take(self._sites[site], peer, queue))
        self._random.shuffle(waiting)
        insist(lambda: _put(self._sites[site], peer, queue, waiting))

    def poison(self, site: str, peer: str) -> None:
        """A message that the other broker refuses: it is said to be of a user of this one."""
        own = self._sites[site]
        bad = pika.BasicProperties(user_id=own.credentials.user, delivery_mode=2)
        insist(lambda: _put(own, peer, peers.outbound(peer).name, [(b"poison", bad)]))

    def delete_queue(self, site: str, peer: str) -> None:
        """The queue at the peer that this site's messages arrive in, and what is in it."""
        there = self._sites[peer]
        vhost = quote(peers.vhost(peer, site), safe="")

        def delete() -> None:
            with there.management() as management:
                management.request("DELETE", f"queues/{vhost}/{peers.inbound(site).name}")

        insist(delete)


def _take(site: Site, peer: str, queue: str) -> list[Message]:
    """All that waits in a queue."""
    taken: list[Message] = []
    with channel(site, peer) as own:
        while True:
            method, properties, body = own.basic_get(queue, auto_ack=True)
            if method is None:
                return taken
            taken.append((body, properties))


def _put(site: Site, peer: str, queue: str, messages: list[Message]) -> None:
    with channel(site, peer) as own:
        own.confirm_delivery()
        for body, properties in messages:
            own.basic_publish("", queue, body, properties)


def _delete_tap(site: Site, peer: str) -> None:
    with channel(site, peer) as own, suppress(ChannelClosedByBroker):
        own.queue_delete(TAP)
