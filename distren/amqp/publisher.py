"""Publishing with confirms: what is on its way to the broker, and what must be sent again on the next connection.

All of it runs in the thread of the link that owns it. A confirm is not waited for one by one (that would cost 1 ms
each): the broker confirms what it has whenever it likes, and every message's `done` hears of its own.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pika
from pika.channel import Channel

from distren.errors import BrokerUnavailable, DistrenError, NotFound

log = logging.getLogger(__name__)

LARGEST = 16 * 2**20
"""bytes; RabbitMQ 4 closes the channel on a larger message, and one that is sent again would close the next as well"""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message to publish; one that is not persistent may be lost, and is not sent again.

    `headers` hold text and whole numbers; `expires` is after how many seconds the broker may drop it at a queue's head.
    """

    exchange: str
    key: str
    body: bytes
    reply_to: str | None = None
    correlation_id: str | None = None
    persistent: bool = True
    type: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    expires: float | None = None


Done = Callable[[DistrenError | None], None]
"""Hears of one message: None once the broker has it, or why it does not"""


class Carrier(Protocol):
    """What carries messages to a queue by its name: a link to the broker, or a way to another server.

    `session` counts the openings of the connection: what was sent in an earlier one may be lost.
    """

    @property
    def session(self) -> int: ...

    def publish(self, message: Outgoing, done: Done | None = None) -> None: ...


@dataclass
class Sending:
    """A message on its way; `returned` says that the broker found no queue for it."""

    message: Outgoing
    done: Done | None
    returned: str | None = None


class Publisher:
    """The messages of one link.

    `call` calls a `done` and survives whatever it raises; `on_settled` is called after each confirm, `on_refused` for
    a message that the broker could not take.
    """

    def __init__(
        self, call: Callable[..., None], on_settled: Callable[[], None], on_refused: Callable[[Outgoing], None]
    ) -> None:
        self._call, self._on_settled, self._on_refused = call, on_settled, on_refused
        self._numbers = itertools.count(1)
        self._waiting: deque[Sending] = deque()
        self._unconfirmed: dict[int, Sending] = {}
        self._by_id: dict[str, Sending] = {}

    @property
    def is_idle(self) -> bool:
        """Whether every message has been dealt with."""
        return not (self._waiting or self._unconfirmed)

    def open(self, channel: Channel) -> None:
        """Ask a fresh channel for confirms and returns."""
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed)

    def resume(self, channel: Channel) -> None:
        """Send on a fresh channel what the last one left unconfirmed, then what has waited."""
        again = [*self._unconfirmed.values(), *self._waiting]
        self._unconfirmed, self._by_id, self._waiting = {}, {}, deque()
        self._numbers = itertools.count(1)
        for sending in again:
            self.send(sending, channel)

    def send(self, sending: Sending, channel: Channel | None) -> None:
        """Publish a message; without a channel, a persistent one waits for the next and another is given up.

        One that no broker would take ends with DistrenError.
        """
        message = sending.message
        if len(message.body) > LARGEST:
            log.error("message not sent: it is larger than a broker takes", extra={"bytes": len(message.body)})
            self.finish(
                sending, DistrenError(f"a message of {len(message.body)} bytes is above the limit of {LARGEST}")
            )
            return
        if channel is None:
            if message.persistent:
                self._waiting.append(sending)
            else:
                self.finish(sending, BrokerUnavailable("there is no connection to the broker"))
            return
        number = next(self._numbers)
        sending.returned = None
        properties = pika.BasicProperties(
            content_type="application/msgpack",
            delivery_mode=2 if message.persistent else 1,
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            message_id=str(number),
            type=message.type,
            headers=dict(message.headers) or None,
            expiration=None if message.expires is None else str(round(message.expires * 1000)),
        )
        self._unconfirmed[number] = sending
        self._by_id[str(number)] = sending
        channel.basic_publish(
            message.exchange, message.key, message.body, properties, mandatory=sending.done is not None
        )

    def lost(self) -> None:
        """The connection is gone: transient messages on their way are given up."""
        for sending in [one for one in self._unconfirmed.values() if not one.message.persistent]:
            self.finish(sending, BrokerUnavailable("the connection to the broker was lost"))
        self._unconfirmed = {number: one for number, one in self._unconfirmed.items() if one.message.persistent}

    def give_up(self, why: DistrenError) -> None:
        """There will be no other connection."""
        given_up = [*self._unconfirmed.values(), *self._waiting]
        self._unconfirmed.clear()
        self._waiting.clear()
        for sending in given_up:
            self.finish(sending, why)

    def finish(self, sending: Sending, error: DistrenError | None) -> None:
        """Tell whoever waits what became of a message."""
        if sending.done is not None:
            self._call(sending.done, error)

    def _returned(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        """Comes before the confirm of the same message."""
        sending = self._by_id.get(properties.message_id)
        if sending is not None:
            sending.returned = f"no queue takes '{method.routing_key}' at exchange '{method.exchange}'"

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        refused = isinstance(method, pika.spec.Basic.Nack)
        for number in self._settled(method.delivery_tag, method.multiple):
            sending = self._unconfirmed.pop(number)
            self._by_id.pop(str(number), None)
            if sending.returned is not None:
                self.finish(sending, NotFound(sending.returned))
            elif refused:
                self.finish(sending, BrokerUnavailable("the broker could not take the message"))
                self._on_refused(sending.message)
            else:
                self.finish(sending, None)
        self._on_settled()

    def _settled(self, tag: int, multiple: bool) -> list[int]:
        if not multiple:
            return [tag] if tag in self._unconfirmed else []
        return list(itertools.takewhile(lambda number: number <= tag, self._unconfirmed))
