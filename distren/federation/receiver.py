"""What a peer must reach us with: each message is handled once, in the order of the numbers, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from distren.amqp.link import Delivery
from distren.errors import DecodeError, DistrenError
from distren.federation.envelope import Envelope
from distren.storage import peers as rows
from distren.wire.codec import Message, decode
from distren.wire.peers import Receipt

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
After = Callable[[], None]
Handler = Callable[[Connection, str, M], After | None]
"""Changes the database in the transaction given; what it returns is called once that is committed. `str`: the peer"""


class Receiver:
    """Knows who handles which kind of message. One for all peers."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler[Any]] = {}

    def on(self, kind: type[M], handler: Handler[M]) -> None:
        """Have `handler` called exactly once for each message of this kind.

        A DistrenError that it raises undoes what it changed, is logged, and ends the message: to tell the peer, it
        sends a message of its own.
        """
        self._handlers[kind.type] = handler

    def take(self, connection: Connection, envelope: Envelope, delivery: Delivery) -> tuple[Receipt, After | None]:
        """Handle a numbered message, if it is the next one; how far we are now.

        From a peer that an operator has just removed nothing is taken: the server is told of that only afterwards.
        """
        assert envelope.epoch is not None
        assert envelope.number is not None
        peer = rows.find(connection, envelope.sender)
        if peer is None:
            return Receipt(epoch=envelope.epoch, next=0), None
        epoch, handled = peer.their_epoch, peer.handled
        if epoch is None or envelope.epoch > epoch:
            epoch, handled = envelope.epoch, 0
        elif envelope.epoch < epoch:
            return Receipt(epoch=envelope.epoch, next=0), None
        if envelope.floor > handled + 1:
            log.error("messages of a peer are missing: our database is an older copy", extra={"peer": peer.name})
            handled = envelope.floor - 1
        after = None
        if envelope.number == handled + 1:
            after = self._handle(connection, peer.name, delivery)
            handled += 1
        rows.change(connection, peer.name, their_epoch=epoch, handled=handled)
        return Receipt(epoch=epoch, next=handled + 1), after

    def _handle(self, connection: Connection, peer: str, delivery: Delivery) -> After | None:
        try:
            message = decode(delivery.body)
            handler = self._handlers.get(message.type)
            if handler is None:
                raise DecodeError(f"nothing here takes messages of type {message.type} from a peer")
            with connection.begin_nested():
                return handler(connection, peer, message)
        except DistrenError as error:
            log.warning("a peer's message came to nothing: %s", error, extra={"peer": peer, "type": delivery.type})
            return None
