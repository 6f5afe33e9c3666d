"""What must reach a peer: published in the order of its numbers, and again until the peer has confirmed it.

A message is written in the transaction of the change that it tells of (`owe`); what the peer has not confirmed stays in
the database, so no broker, shovel or server that dies on the way can lose it. All of it runs in the server's thread.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from sqlalchemy import Connection

from distren.amqp.peers import MESSAGES, OUTBOUND
from distren.amqp.publisher import Outgoing
from distren.errors import NotFound
from distren.federation.peerlink import PeerLink
from distren.storage import peers as rows
from distren.wire.codec import Message
from distren.wire.peers import Receipt

log = logging.getLogger(__name__)

WINDOW = 500
"""messages that may be on their way unconfirmed"""
FIRST_PATIENCE, LONGEST_PATIENCE = 15.0, 240.0
"""seconds without a receipt, and with nothing waiting in our broker, until all is sent again; doubled each time"""


def owe(connection: Connection, peer: str, message: Message, now: float) -> None:
    """Have `message` delivered to `peer` exactly once, if this transaction commits.

    A peer that an operator has just removed is owed nothing: the server is told of that only afterwards.
    """
    with suppress(NotFound):
        rows.owe(connection, peer, type=message.type, body=message.encode(), now=now)


class Sender:
    """Sends what one peer is owed. Receipts are noted at once, and written when there is reason to."""

    def __init__(self, link: PeerLink) -> None:
        self._link = link
        self._epoch = ""
        self._published = self._confirmed = self._settled = 0
        self._patience = FIRST_PATIENCE
        self._progress = 0.0
        self._has_more = False
        self.waiting: int | None = None
        """messages that wait in our broker for a shovel; None before it is known"""
        self.wanted = True
        """there may be something to send"""

    def receipt(self, receipt: Receipt, steady: float) -> None:
        """The peer has dealt with all below a number."""
        if receipt.epoch != self._epoch or receipt.next - 1 <= self._confirmed:
            return
        self._confirmed, self._progress, self._patience = receipt.next - 1, steady, FIRST_PATIENCE
        if self._confirmed > self._published or (self._has_more and self._confirmed - self._settled > WINDOW // 2):
            self.wanted = True

    def pump(self, connection: Connection, now: float, steady: float) -> None:
        """Write what is confirmed, and publish what has not been published, up to the window."""
        self.wanted = self._has_more = False
        peer = rows.find(connection, self._link.peer)
        if peer is None:
            return
        if peer.epoch != self._epoch:
            self._begin(peer.epoch)
        if self._confirmed > peer.sent:
            log.error("a peer has more messages than we know to have sent: our database is an older copy")
            self._begin(rows.renumber(connection, peer.name, now))
        self._settle(connection)
        first = rows.owed(connection, peer.name, above=self._confirmed, limit=1)
        if first:
            self._publish(connection, first[0].number, steady)
            self._has_more = self._published < peer.sent

    def _publish(self, connection: Connection, floor: int, steady: float) -> None:
        if self._published < floor:
            self._progress = steady
        room = floor + WINDOW - 1 - max(self._published, floor - 1)
        for owed in rows.owed(connection, self._link.peer, above=self._published, limit=max(room, 0)):
            message = Outgoing(exchange=OUTBOUND, key=MESSAGES, body=owed.body, type=owed.type)
            self._link.send(message, self._link.numbered(owed.number, self._epoch, floor))
            self._published = owed.number

    def check(self, connection: Connection, steady: float) -> None:
        """Now and then: write what is confirmed, and send again what seems to be lost."""
        self._link.count_waiting(self._counted)
        self._settle(connection)
        if not rows.owed(connection, self._link.peer, above=self._confirmed, limit=1):
            return
        if self.waiting == 0 and steady - self._progress > self._patience:
            log.info("a peer has not confirmed what it was sent: sent again", extra={"peer": self._link.peer})
            self._published, self._progress = self._confirmed, steady
            self._patience = min(self._patience * 2, LONGEST_PATIENCE)
        self.wanted = True

    def _begin(self, epoch: str) -> None:
        self._epoch, self._published, self._confirmed, self._settled = epoch, 0, 0, 0

    def _settle(self, connection: Connection) -> None:
        if self._confirmed > self._settled:
            rows.confirmed(connection, self._link.peer, below=self._confirmed + 1)
            self._settled = self._confirmed
            self._published = max(self._published, self._confirmed)

    def _counted(self, waiting: int) -> None:
        """In the link's thread."""
        self.waiting = waiting
