"""Takes frames from the class queue: as many consumers of prefetch 1 as the worker has room."""

from __future__ import annotations

import itertools
import logging
import threading
from functools import partial

from distren import failpoints
from distren.amqp.link import Consumer, Delivery, Link
from distren.errors import DecodeError
from distren.wire.frames import LEAVES, Render
from distren.worker.hand import Hand, Receipt

log = logging.getLogger(__name__)


class Intake:
    """The consumers of a worker on its class queue. Any thread may call anything."""

    def __init__(self, link: Link, queue: str, worker: str, hand: Hand) -> None:
        self._link, self._queue, self._worker, self._hand = link, queue, worker, hand
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._consumers: dict[str, Delivery | None] = {}
        self._owners: dict[tuple[int, int], str] = {}
        self._closed = False

    @property
    def room(self) -> int:
        """How many consumers there are."""
        return len(self._consumers)

    def resize(self, room: int) -> None:
        """Have `room` consumers; idle ones go first."""
        with self._lock:
            while len(self._consumers) < room and not self._closed:
                tag = f"{self._worker}.{next(self._numbers)}"
                self._consumers[tag] = None
                consumer = Consumer(queue=self._queue, tag=tag, on_delivery=partial(self._delivered, tag))
                self._link.consume(consumer)
            surplus = len(self._consumers) - max(room, 0)
            if surplus > 0:
                by_use = sorted(self._consumers, key=lambda tag: self._consumers[tag] is not None)
                for tag in by_use[:surplus]:
                    self._cancel(tag)

    def close(self) -> None:
        """Take nothing more; what arrives all the same is given back."""
        with self._lock:
            self._closed = True
            for tag in list(self._consumers):
                self._cancel(tag)

    def acknowledge(self, delivery: Delivery | None) -> None:
        """The frame is dealt with; None: nothing is left to acknowledge."""
        if delivery is not None:
            with self._lock:
                self._settle(delivery)
                self._link.acknowledge(delivery)

    def give_back(self, delivery: Delivery | None) -> None:
        """Put the frame back into the queue; its consumer ends, or it would be given the frame again at once."""
        if delivery is not None:
            with self._lock:
                owner = self._settle(delivery)
                if owner in self._consumers:
                    self._cancel(owner)
                self._link.give_back(delivery)

    def connection_lost(self) -> None:
        """Whatever was delivered is void: the broker hands it out again. Runs in the link's thread."""
        with self._lock:
            self._owners.clear()
            self._consumers = dict.fromkeys(self._consumers)
        self._hand.forget_deliveries()

    # -- the link's thread -------------------------------------------------------------------------------------------

    def _delivered(self, tag: str, delivery: Delivery) -> None:
        try:
            render = Render.expect(delivery.body)
        except DecodeError as error:
            log.error("a frame that can not be understood goes to the dead letters: %s", error)
            self._link.bury(delivery)
            return
        failpoints.reach("worker.frame.taken")
        if self._comes_back(render, delivery):
            return
        with self._lock:
            if self._closed:
                self._link.give_back(delivery)
                return
            self._owners[delivery.session, delivery.tag] = tag
            if tag in self._consumers:
                self._consumers[tag] = delivery
            if self._hand.receive(render, delivery) is Receipt.SUPERFLUOUS:
                self.acknowledge(delivery)

    def _comes_back(self, render: Render, delivery: Delivery) -> bool:
        """Whether the frame is passed on: to the server, once it has ended too many workers, or to another worker."""
        returns = int(delivery.headers.get("x-delivery-count") or 0)
        if render.returns is not None and returns >= render.returns:
            log.warning("a frame has come back from %d workers: it goes to the server", returns, extra=_ids(render))
            self._link.bury(delivery)
            return True
        if self._worker not in render.avoid or returns >= LEAVES * len(render.avoid):
            return False
        self._link.give_back(delivery)
        return True

    # -- with the lock held ------------------------------------------------------------------------------------------

    def _settle(self, delivery: Delivery) -> str:
        owner = self._owners.pop((delivery.session, delivery.tag), "")
        if self._consumers.get(owner) is delivery:
            self._consumers[owner] = None
        return owner

    def _cancel(self, tag: str) -> None:
        del self._consumers[tag]
        self._link.cancel(tag)


def _ids(render: Render) -> dict[str, int]:
    return {"job": render.job, "frame": render.frame}
