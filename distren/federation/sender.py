"""What must reach a peer: published in the order of its numbers, and again until the peer has confirmed it.

A message is written in the transaction of the change that it tells of (`owe`); what the peer has not confirmed stays in
the database, so no broker, shovel or server that dies on the way can lose it. All of it runs in the server's thread.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from distren.amqp.peers import MESSAGES, OUTBOUND
from distren.amqp.publisher import Outgoing
from distren.federation.peerlink import PeerLink
from distren.storage import peers as rows
from distren.wire.codec import Message
from distren.wire.peers import Receipt

log = logging.getLogger(__name__)

WINDOW = 500
"""messages that may be on their way unconfirmed"""
FIRST_PATIENCE, LONGEST_PATIENCE = 15.0, 240.0
"""seconds without a receipt, and with nothing waiting in our broker, until all is sent again; doubled each time"""


def owe(connection: Connection, peer: str, message: Message, now: float) -> int:
    """Have `message` delivered to `peer` exactly once, if this transaction commits; its number. Raises NotFound."""
    return rows.owe(connection, peer, type=message.type, body=message.encode(), now=now)


class Sender:
    """Sends what one peer is owed."""

    def __init__(self, link: PeerLink) -> None:
        self._link = link
        self._published = 0
        self._patience = FIRST_PATIENCE
        self._progress = 0.0
        self._waiting: int | None = None
        self.wanted = True
        """there may be something to send"""

    @property
    def waiting(self) -> int | None:
        """How many messages wait in our broker for a shovel; None before it is known."""
        return self._waiting

    def pump(self, connection: Connection, steady: float) -> None:
        """Publish what is owed and has not been published, up to the window."""
        self.wanted = False
        peer = rows.find(connection, self._link.peer)
        if peer is None or peer.sent == 0:
            return
        first = rows.owed(connection, peer.name, above=0, limit=1)
        if not first:
            return
        floor = first[0].number
        if self._published < floor:
            self._progress = steady
        room = floor + WINDOW - 1 - max(self._published, floor - 1)
        for owed in rows.owed(connection, peer.name, above=self._published, limit=max(room, 0)):
            message = Outgoing(exchange=OUTBOUND, key=MESSAGES, body=owed.body, type=owed.type)
            self._link.send(message, self._link.numbered(owed.number, peer.epoch, floor))
            self._published = owed.number

    def receipt(self, connection: Connection, receipt: Receipt, now: float, steady: float) -> None:
        """The peer has dealt with all below a number."""
        peer = rows.find(connection, self._link.peer)
        if peer is None or receipt.epoch != peer.epoch:
            return
        if receipt.next > peer.sent + 1:
            log.error("a peer has more messages than we know to have sent: our database is an older copy")
            rows.renumber(connection, peer.name, now)
            self._published = 0
        else:
            rows.confirmed(connection, peer.name, below=receipt.next)
            self._published = max(self._published, receipt.next - 1)
        self._progress, self._patience, self.wanted = steady, FIRST_PATIENCE, True

    def check(self, connection: Connection, steady: float) -> None:
        """Now and then: send again what seems to be lost."""
        self._link.count_waiting(self._counted)
        if not rows.owed(connection, self._link.peer, above=0, limit=1):
            return
        if self._waiting == 0 and steady - self._progress > self._patience:
            log.info("a peer has not confirmed what it was sent: sent again", extra={"peer": self._link.peer})
            self._published, self._progress = 0, steady
            self._patience = min(self._patience * 2, LONGEST_PATIENCE)
            self.wanted = True

    def _counted(self, waiting: int) -> None:
        """In the link's thread."""
        self._waiting = waiting
