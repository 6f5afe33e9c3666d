"""One peer while the server runs: the way to it, what it is owed, how it is, and whatever asks and answers there."""

from __future__ import annotations

import time
from collections.abc import Callable

from distren.amqp.blobs import BlobSender
from distren.amqp.mailbox import Mailbox
from distren.amqp.peers import ANSWERS
from distren.amqp.publisher import Outgoing
from distren.amqp.requests import PATIENCE, Reply, Requester
from distren.amqp.topology import DEFAULT
from distren.federation.health import Health
from distren.federation.peerlink import Identity, OnMessage, OnRefused, PeerLink
from distren.federation.sender import Sender
from distren.storage.peers import Peer
from distren.wire.codec import Message
from distren.wire.jobs import FrameNews, JobNews
from distren.wire.peers import Watch

WATCHED = 60.0
"""seconds for which a client is sent news after it has asked"""


class Member:
    """A peer that the server has a way to. `mailbox` takes what comes back to our own questions."""

    def __init__(
        self,
        broker_url: str,
        own: Identity,
        peer: Peer,
        *,
        on_message: Callable[[Member], OnMessage],
        on_refused: Callable[[Member], OnRefused],
        on_up: Callable[[Member], None],
    ) -> None:
        self.peer = peer
        self.instance = peer.instance
        self.health = Health(
            software=peer.software, seen=peer.seen, opened=time.monotonic(), reached=peer.address is not None
        )
        self.link = PeerLink(
            broker_url,
            own,
            peer.name,
            on_message=on_message(self),
            on_refused=on_refused(self),
            on_up=lambda: on_up(self),
            known=lambda: self.instance,
        )
        self.sender = Sender(self.link)
        self.mailbox = Mailbox(ANSWERS)
        self.requester = Requester(self.link, ANSWERS)
        self.mailbox.requester = self.requester
        self.uploads = BlobSender(self.link, self.mailbox, ANSWERS)
        self._watched: dict[tuple[int, type[Message]], float] = {}

    @property
    def name(self) -> str:
        return self.peer.name

    def tell(self, address: str, message: Message, correlation_id: str | None = None) -> None:
        """Send a message that may be lost."""
        self.link.publish(
            Outgoing(
                exchange=DEFAULT,
                key=address,
                body=message.encode(),
                correlation_id=correlation_id,
                persistent=False,
                type=message.type,
            )
        )

    def ask(self, message: Message, expect: type[Reply], timeout: float = PATIENCE) -> Reply:
        """The peer's reply to a request. Blocks; raises what it refuses with, NoAnswer after `timeout` seconds."""
        return self.requester.ask(message, expect, timeout=timeout)

    def watch(self, watch: Watch, steady: float) -> None:
        """A client there wants the news of a job for a while; in the server's thread."""
        self._watched[watch.job, JobNews] = steady + WATCHED
        if watch.frames:
            self._watched[watch.job, FrameNews] = steady + WATCHED

    def watches(self, news: JobNews | FrameNews, steady: float) -> bool:
        """Whether a client there wants these news; in the server's thread."""
        until = self._watched.get((news.job, type(news)))
        if until is not None and until < steady:
            del self._watched[news.job, type(news)]
        return until is not None and until >= steady

    def close(self) -> None:
        self.uploads.close()
        self.link.close()
