"""Publishes what committed changes owe to the broker, and remembers what the broker has confirmed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from functools import partial

from sqlalchemy import Connection

from distren import failpoints
from distren.amqp.link import Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import FRAMES, frames_queue
from distren.errors import DistrenError
from distren.storage import outbox
from distren.storage.outbox import Owed

log = logging.getLogger(__name__)


class Relay:
    """Between the outbox and the broker. A row leaves the outbox in the first transaction after its confirm."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._confirmed: deque[int] = deque()
        self._settling: list[int] = []
        """what leaves the outbox with the transaction that is under way, or was to with one that failed"""
        self._refused: deque[Owed] = deque()
        self._declared: set[str] = set()

    def declare(self, queue: str) -> None:
        """Make sure that a class's queue is there."""
        if queue not in self._declared:
            self._declared.add(queue)
            self._link.declare(frames_queue(queue))

    def resume(self, connection: Connection) -> None:
        """After a start: publish what an earlier process owed."""
        self.send(outbox.waiting(connection))

    def settle(self, connection: Connection) -> None:
        """Remove what has been confirmed, in whatever transaction comes next; then `settled` is to be called."""
        self._settling += [self._confirmed.popleft() for _ in range(len(self._confirmed))]
        outbox.remove(connection, self._settling)

    def settled(self) -> None:
        """The transaction of `settle` is committed."""
        self._settling.clear()

    @property
    def unsettled(self) -> bool:
        """Whether there is something to settle, or to send again."""
        return bool(self._confirmed or self._settling or self._refused)

    def send(self, messages: Iterable[Owed]) -> None:
        """Publish messages whose transaction is committed."""
        for owed in messages:
            if owed.exchange == FRAMES:
                self.declare(owed.key)
            outgoing = Outgoing(exchange=owed.exchange, key=owed.key, body=owed.body, type="frame.render")
            failpoints.reach("server.publish.before")
            self._link.publish(outgoing, partial(self._done, owed))
            failpoints.reach("server.publish.after")

    def send_refused(self) -> None:
        """Publish again what the broker could not take."""
        again = [self._refused.popleft() for _ in range(len(self._refused))]
        for owed in again:
            self._declared.discard(owed.key)
        self.send(again)

    def _done(self, owed: Owed, error: DistrenError | None) -> None:
        """Runs in the link's thread."""
        if error is None:
            failpoints.reach("server.confirm.before")
            self._confirmed.append(owed.id)
            failpoints.reach("server.confirm.after")
        else:
            log.warning("message not taken, sent again later: %s", error)
            self._refused.append(owed)
