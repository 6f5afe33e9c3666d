"""Which of several processes acts for a server: the one that holds the lead, a message of a queue.

The queue has a single active consumer, so the broker hands the lead to the next process within milliseconds once the
connection of its holder ends, or is silent for two heartbeats. Nothing is asked again and again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.requests import Requester
from distren.amqp.topology import DEFAULT, LEAD, LEAD_QUEUE, REQUESTS, Queue, server_queue
from distren.errors import DistrenError
from distren.wire.jobs import Describe, Description

log = logging.getLogger(__name__)

HEARTBEAT = 2
"""seconds; a process that is stopped or cut off loses the lead after twice that long"""
RENEW_EVERY = 300.0
"""seconds; far below the 30 minutes after which a broker takes back what was not acknowledged"""


class Lead:
    """`on_change` is called, in the link's thread, whenever the lead comes or goes."""

    def __init__(self, broker_url: str, server: str, on_change: Callable[[], None]) -> None:
        self._server, self._on_change = server, on_change
        self._held: Delivery | None = None
        self._renewed = 0.0
        own: Queue = server_queue(server, f"lead.{uuid.uuid4().hex[:8]}")
        self._link = Link(
            broker_url,
            name=f"server {server} (lead)",
            queues=[LEAD_QUEUE, own],
            on_up=self._offer,
            on_down=self._lost,
            patient=True,
            heartbeat=HEARTBEAT,
        )
        self._requester = Requester(self._link, own.name)
        self._replies = Consumer(queue=own.name, tag="replies", on_delivery=self._reply, automatic=True)

    def start(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Ask for the lead, and wait for a broker that does not answer as long as `wanted`; raises as Link.start."""
        self._link.consume(self._replies)
        self._link.consume(Consumer(queue=LEAD, tag=f"server {self._server} lead", on_delivery=self._take))
        self._link.start(wanted=wanted)

    def close(self) -> None:
        """Give the lead up: the broker hands it to the next process."""
        self._link.close()

    @property
    def is_held(self) -> bool:
        return self._held is not None

    @property
    def is_up(self) -> bool:
        """Whether the broker can be asked for the lead."""
        return self._link.is_up

    @property
    def failure(self) -> DistrenError | None:
        """Why it can never be had again; None as long as it can."""
        return self._link.failure

    def holder(self, timeout: float) -> Description:
        """What the process says of itself that acts now. Raises NoAnswer."""
        return self._requester.ask(Describe(), Description, queue=REQUESTS, timeout=timeout)

    def renew(self) -> None:
        """Take the lead anew, where it has been held for long: a broker wants every message back some time."""
        held = self._held
        if held is None or time.monotonic() - self._renewed < RENEW_EVERY:
            return
        self._renewed = time.monotonic()

        def renewed(error: DistrenError | None) -> None:
            if error is None:
                self._link.acknowledge(held)

        self._link.publish(self._message(), renewed)

    # -- in the link's thread ----------------------------------------------------------------------------------------

    def _reply(self, delivery: Delivery) -> None:
        self._requester.receive(delivery)

    def _message(self) -> Outgoing:
        return Outgoing(exchange=DEFAULT, key=LEAD, body=self._server.encode())

    def _offer(self) -> None:
        """There has to be a lead: the broker may have lost it. The queue keeps one of all that are offered."""
        self._link.publish(self._message())

    def _take(self, delivery: Delivery) -> None:
        self._renewed = time.monotonic()
        self._set(delivery)

    def _lost(self) -> None:
        self._set(None)

    def _set(self, held: Delivery | None) -> None:
        self._held = held
        self._on_change()
