"""What a link declares and consumes: when it is asked to, and anew each time its connection opens.

A quorum queue can lose its leader for good: RabbitMQ lists its queues in a table that is written up to 3 s late, and
one that is missing there after a crash is known, but does not run. Who consumes it is closed down with 541 after the
broker's `net_ticktime` and 5 s, and so long takes a publish until it is refused. Nothing can be had of it any more, so
a link that `mends` deletes such a queue and declares it again (docs/reliability.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pika.channel import Channel

from distren.amqp.topology import Exchange, Queue

log = logging.getLogger(__name__)

_INTERNAL_ERROR = 541
_QUORUM = "quorum"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message that has arrived; `session` tells the connection that it came through."""

    body: bytes
    tag: int
    session: int
    queue: str
    key: str = ""
    type: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    redelivered: bool = False
    headers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A standing order for messages of `queue`; `prefetch` 0 means that nothing is acknowledged one by one.

    `on_delivery` runs in the link's thread: it must only hand the delivery on.
    """

    queue: str
    tag: str
    on_delivery: Callable[[Delivery], None]
    prefetch: int = 1
    automatic: bool = False
    """the broker forgets a message as it sends it: for queues whose messages may be lost"""


class Standing:
    """The standing orders of one link; everything runs in its thread, and `call` survives what it calls.

    `on_replaced` hears of each queue that had no leader and is made again, empty; without it nothing is mended.
    """

    def __init__(
        self,
        exchanges: Iterable[Exchange],
        queues: Iterable[Queue],
        call: Callable[..., None],
        on_replaced: Callable[[str], None] | None,
    ) -> None:
        self._exchanges, self._queues = list(exchanges), list(queues)
        self._call, self._on_replaced = call, on_replaced
        self._consumers: dict[str, Consumer] = {}
        self._beginning: dict[str, str] = {}
        """tag to queue of the consumers that the broker has not confirmed yet, in the order in which it does"""
        self._broken: set[str] = set()

    def open(self, channel: Channel, session: int) -> None:
        """Declare and consume everything on a fresh channel."""
        self._beginning.clear()
        for name in self._broken:
            log.error("queue %s has no leader any more: it is deleted and declared again", name)
            channel.queue_delete(name)
        for exchange in self._exchanges:
            channel.exchange_declare(exchange.name, exchange.kind, durable=True)
        for queue in self._queues:
            _declare(channel, queue)
        for consumer in self._consumers.values():
            self._begin(channel, session, consumer)

    def opened(self) -> None:
        """The broker has done all of `open`."""
        replaced, self._broken = self._broken, set()
        for name in replaced:
            if self._on_replaced is not None:
                self._call(self._on_replaced, name)

    def ended(self, code: int) -> None:
        """The broker closed the connection with this code: is it for a consumer that it could not begin?"""
        if code == _INTERNAL_ERROR and self._beginning:
            self._suspect(lambda queue: queue.name == next(iter(self._beginning.values())))
        self._beginning.clear()

    def refused(self, exchange: str, key: str) -> bool:
        """The broker has refused a message: whether that is for a queue that has to be made again."""
        return self._suspect(lambda queue: (exchange, key) in (*queue.bindings, ("", queue.name)))

    def _suspect(self, meant: Callable[[Queue], bool]) -> bool:
        found = {
            queue.name for queue in self._queues if queue.arguments.get("x-queue-type") == _QUORUM and meant(queue)
        }
        if self._on_replaced is not None:
            self._broken |= found
        return bool(self._broken)

    def declare(self, channel: Channel | None, queue: Queue) -> None:
        self._queues.append(queue)
        if channel is not None:
            _declare(channel, queue)

    def unbind(self, channel: Channel | None, queue: Queue) -> None:
        if queue in self._queues:
            self._queues.remove(queue)
        if channel is not None:
            for exchange, key in queue.bindings:
                channel.queue_unbind(queue.name, exchange, key)

    def consume(self, channel: Channel | None, session: int, consumer: Consumer) -> None:
        self._consumers[consumer.tag] = consumer
        if channel is not None:
            self._begin(channel, session, consumer)

    def cancel(self, channel: Channel | None, tag: str) -> None:
        # Without waiting for an answer. Were each of several cancels to wait for the one before, a message given back
        # meanwhile would visit the consumers that are left, and each visit counts for its queue's delivery limit.
        if self._consumers.pop(tag, None) is not None and channel is not None:
            channel.basic_cancel(tag)

    def _begin(self, channel: Channel, session: int, consumer: Consumer) -> None:
        def deliver(_: Any, method: Any, properties: Any, body: bytes) -> None:
            self._call(
                consumer.on_delivery,
                Delivery(
                    body=body,
                    tag=method.delivery_tag,
                    session=session,
                    queue=consumer.queue,
                    key=method.routing_key,
                    type=properties.type,
                    reply_to=properties.reply_to,
                    correlation_id=properties.correlation_id,
                    redelivered=method.redelivered,
                    headers=properties.headers or {},
                ),
            )

        if not consumer.automatic:
            channel.basic_qos(prefetch_count=consumer.prefetch, callback=lambda _: None)
        self._beginning[consumer.tag] = consumer.queue
        channel.basic_consume(
            consumer.queue,
            deliver,
            auto_ack=consumer.automatic,
            consumer_tag=consumer.tag,
            callback=lambda _: self._beginning.pop(consumer.tag, None),
        )


def _declare(channel: Channel, queue: Queue) -> None:
    channel.queue_declare(
        queue.name, durable=not queue.exclusive, exclusive=queue.exclusive, arguments=dict(queue.arguments)
    )
    for exchange, key in queue.bindings:
        channel.queue_bind(queue.name, exchange, key)
