"""The one queue of a process: what arrives there is decoded, and handed to whoever asked for its kind.

Nothing in a mailbox is acknowledged: whoever sends to one repeats what mattered and was not answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload

from distren.amqp.link import Consumer, Delivery
from distren.errors import DecodeError
from distren.wire.blobs import Piece
from distren.wire.codec import Message, decode

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


class TakesReplies(Protocol):
    """What a mailbox offers each delivery to first; True: it was a reply that somebody waited for."""

    def receive(self, delivery: Delivery) -> bool: ...


class Mailbox:
    """Register handlers with `on`, then have the link consume `consumer()`.

    Handlers run in the link's thread: they must only hand on. A message that can not be decoded, or that nobody
    asked for, is dropped, and logged once for each kind of trouble.
    """

    def __init__(self, queue_name: str) -> None:
        self.queue_name = queue_name
        self.requester: TakesReplies | None = None
        self._handlers: dict[str, Callable[[Delivery, Any], None]] = {}
        self._complaints: set[str] = set()

    @overload
    def on(self, kind: type[M], handler: Callable[[Delivery, M], None]) -> None: ...

    @overload
    def on(self, kind: type[Piece], handler: Callable[[Delivery, Piece], None]) -> None: ...

    def on(self, kind: Any, handler: Callable[[Delivery, Any], None]) -> None:
        """Have `handler` called with each message of this kind; it takes the place of an earlier one."""
        self._handlers[kind.type] = handler

    def consumer(self) -> Consumer:
        """What the link is to consume."""
        return Consumer(queue=self.queue_name, tag=self.queue_name, on_delivery=self.receive, automatic=True)

    def receive(self, delivery: Delivery) -> None:
        """Hand on one delivery, in the link's thread."""
        if self.requester is not None and self.requester.receive(delivery):
            return
        try:
            message = self._decoded(delivery)
        except DecodeError as error:
            self._complain(f"undecodable {delivery.type}", "dropped a message that can not be understood: %s", error)
            return
        handler = self._handlers.get(message.type)
        if handler is None:
            self._complain(message.type, "dropped a message that nobody here waits for: %s", message.type)
            return
        try:
            handler(delivery, message)
        except Exception:
            log.exception("a message of type %s was not handled", message.type)

    @staticmethod
    def _decoded(delivery: Delivery) -> Message | Piece:
        if delivery.type == Piece.type:
            return Piece.read(delivery.correlation_id, delivery.body)
        return decode(delivery.body)

    def _complain(self, kind: str, text: str, *arguments: object) -> None:
        if kind not in self._complaints and len(self._complaints) < 100:
            self._complaints.add(kind)
            log.warning(text, *arguments)
