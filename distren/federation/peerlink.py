"""The way to one peer: publishes to its addresses, and hands on what it sends, each message checked at the door.

A peer link carries messages as a link to the broker does (`publish` to a queue's name), so that requests, replies and
blobs work over it unchanged; the names are addresses at the peer. What is published here may be lost, like the messages
of a client: whoever needs an answer asks again. Messages that must arrive go through `federation.sender`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit, urlunsplit

from distren.amqp import peers
from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Done, Outgoing
from distren.errors import BrokerUnavailable, DecodeError, DistrenError
from distren.federation.envelope import MOST_HOPS, VERSION, Envelope, read
from distren.wire.peers import Refusal

log = logging.getLogger(__name__)

EXPIRES = 60.0
"""seconds that a question waits in a queue; whoever asked has given up by then. Pieces of blobs, which queue up behind
each other on a slow line, may take longer"""
PIECES_EXPIRE = 600.0


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who we are: `instance` tells us from another server of our name."""

    name: str
    instance: str


OnMessage = Callable[[Envelope, Delivery], None]
OnRefused = Callable[[str], None]


class PeerLink:
    """The link to the virtual host of `peer`, on our own broker at `broker_url`.

    In the link's thread, `on_message` is called with each message that is what it claims to be (`delivery.key` is the
    address it is for), and `on_refused` with the reason where one is not. `known` says which instance of the peer is
    the right one, None while any is.
    """

    def __init__(
        self,
        broker_url: str,
        own: Identity,
        peer: str,
        *,
        on_message: OnMessage,
        on_refused: OnRefused,
        on_up: Callable[[], None],
        known: Callable[[], str | None],
    ) -> None:
        self.peer = peer
        self._own, self._known = own, known
        self._on_message, self._on_refused = on_message, on_refused
        self._url = vhost_url(broker_url, peers.vhost(own.name, peer))
        self._on_up = on_up
        self._outbound, self._inbound = peers.outbound(peer), peers.inbound(peer)
        self._link: Link | None = None
        self._listened = 0
        self._closed = threading.Event()

    def open(self) -> None:
        """Connect. Raises what `Link.start` raises; it may be called again then."""
        link = Link(
            self._url,
            name=f"server {self._own.name} (peer {self.peer})",
            exchanges=peers.EXCHANGES,
            queues=[self._outbound, self._inbound],
            on_up=self._on_up,
            patient=True,
        )
        link.consume(self._consumer())
        self._link = link
        if self._closed.is_set():
            return
        try:
            link.start()
        except DistrenError:
            self._link = None
            raise

    def listen_again(self) -> None:
        """Consume anew what the peer sends.

        Where a queue is deleted and declared again by somebody else at once, as by a shovel that connects, RabbitMQ
        (3.10 at least) may go on with its consumer without a word, and drop each message on the way to it.
        """
        if self._link is not None:
            self._link.cancel(self._tag)
            self._listened += 1
            self._link.consume(self._consumer())

    @property
    def _tag(self) -> str:
        return f"from {self.peer}" + (f" {self._listened}" if self._listened else "")

    def _consumer(self) -> Consumer:
        return Consumer(queue=self._inbound.name, tag=self._tag, on_delivery=self._receive, automatic=True, prefetch=0)

    @property
    def is_open(self) -> bool:
        """Whether `open` has succeeded; the link comes back by itself from then on."""
        return self._link is not None

    @property
    def is_up(self) -> bool:
        return self._link is not None and self._link.is_up

    @property
    def session(self) -> int:
        return 0 if self._link is None else self._link.session

    def publish(self, message: Outgoing, done: Done | None = None) -> None:
        """Send `message` to the address `message.key` at the peer; `done` hears whether our broker has it."""
        self.send(message, Envelope(sender=self._own.name, instance=self._own.instance, to=message.key), done)

    def send(self, message: Outgoing, envelope: Envelope, done: Done | None = None) -> None:
        """Send `message` in an envelope of the caller's."""
        expires = message.expires or (PIECES_EXPIRE if message.type and message.type.startswith("blob.") else EXPIRES)
        outgoing = replace(
            message,
            exchange=peers.OUTBOUND,
            key=self.peer,
            headers=envelope.headers(),
            expires=None if envelope.number is not None else expires,
        )
        if self._link is not None:
            self._link.publish(outgoing, done)
        elif done is not None:
            done(BrokerUnavailable(f"there is no way to '{self.peer}' yet"))

    def numbered(self, number: int, epoch: str, floor: int) -> Envelope:
        """The envelope of a message that must arrive."""
        return Envelope(
            sender=self._own.name,
            instance=self._own.instance,
            to=peers.MESSAGES,
            epoch=epoch,
            number=number,
            floor=floor,
        )

    def count_waiting(self, on_count: Callable[[int], None]) -> None:
        """Ask how many messages wait here for a shovel to take them."""
        if self._link is not None:
            self._link.count(self._outbound.name, on_count)

    def close(self) -> None:
        """For good."""
        self._closed.set()
        if self._link is not None:
            self._link.close()

    # -- what arrives, in the link's thread --------------------------------------------------------------------------

    def _receive(self, delivery: Delivery) -> None:
        try:
            envelope = read(delivery.headers)
        except DecodeError as error:
            log.warning("a peer's message was dropped: %s", error, extra={"peer": self.peer})
            return
        if delivery.type == Refusal.type and envelope.sender == self.peer:
            self._on_refused(f"'{self.peer}' refuses us: {Refusal.expect(delivery.body).reason}")
            return
        if (reason := self._wrong(envelope)) is not None:
            self._refuse(reason)
            return
        if envelope.hops > MOST_HOPS:
            log.error("a message was dropped: it goes round in a circle", extra={"peer": self.peer, "to": envelope.to})
            return
        self._on_message(envelope, replace(delivery, key=envelope.to))

    def _wrong(self, envelope: Envelope) -> str | None:
        """Why a message is not taken; None where it is."""
        if envelope.sender != self.peer:
            return f"a message from '{envelope.sender}' came the way that belongs to '{self.peer}'"
        if envelope.version != VERSION:
            return (
                f"'{self.peer}' speaks version {envelope.version} of the protocol between servers, and "
                f"'{self._own.name}' version {VERSION}: bring both to the same version of DistRen"
            )
        known = self._known()
        if known is not None and envelope.instance != known:
            return (
                f"two servers are called '{self.peer}': if its database was made anew, 'distren peer remove' and "
                "'distren peer add' or 'accept' on both sides"
            )
        return None

    def _refuse(self, reason: str) -> None:
        self._on_refused(reason)
        refusal = Refusal(reason=reason)
        self.publish(
            Outgoing(exchange="", key=peers.ANSWERS, body=refusal.encode(), persistent=False, type=refusal.type)
        )


def vhost_url(broker_url: str, vhost: str) -> str:
    """The broker's URL with another virtual host."""
    parts = urlsplit(broker_url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{quote(vhost, safe='')}", parts.query, ""))
