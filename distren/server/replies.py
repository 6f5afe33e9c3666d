"""Requests of clients, and the replies to them: one is acknowledged when the broker has the reply to it.

A server that dies before that is asked again by the broker, so that no client waits for a reply that is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue

from distren.amqp.link import Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import DEFAULT
from distren.errors import DistrenError
from distren.wire.codec import Message


class Replies:
    """All of it belongs to the server's thread; `wake` is called, in the link's, when there is something to settle."""

    def __init__(self, link: Link, wake: Callable[[], None]) -> None:
        self._link, self._wake = link, wake
        self._open: dict[int, Delivery] = {}
        self._sent: SimpleQueue[Delivery] = SimpleQueue()

    @property
    def open(self) -> list[Delivery]:
        """The requests that must not be acknowledged yet."""
        return list(self._open.values())

    def expect(self, delivery: Delivery) -> None:
        """A request has come, and a reply to it will be sent some time."""
        self._open[id(delivery)] = delivery

    def send(self, delivery: Delivery, reply: Message) -> None:
        """Reply to whoever sent `delivery`; it is open until the broker has that."""
        if delivery.reply_to is None:
            self._open.pop(id(delivery), None)
            return
        self.expect(delivery)

        def sent(_: DistrenError | None) -> None:
            # An error says that nobody is there any more who could hear it, or that this process ends.
            self._sent.put(delivery)
            self._wake()

        outgoing = Outgoing(
            exchange=DEFAULT,
            key=delivery.reply_to,
            body=reply.encode(),
            correlation_id=delivery.correlation_id,
            type=reply.type,
        )
        self._link.publish(outgoing, sent)

    def settle(self) -> list[Delivery]:
        """The requests of earlier turns that can be acknowledged now."""
        settled = []
        while not self._sent.empty():
            delivery = self._sent.get()
            if self._open.pop(id(delivery), None) is not None:
                settled.append(delivery)
        return settled
