"""A broker and links to it that exist in memory alone: what is on its way moves only when the test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from distren.amqp.link import Delivery
from distren.amqp.publisher import Done, Outgoing
from distren.amqp.topology import DEAD, EVENTS, FRAMES, REPORTS, RESULTS, Queue
from distren.errors import BrokerUnavailable, DistrenError, NotFound

_ROUTES = {"frame.completed": RESULTS, "frame.failed": RESULTS}


@dataclass(eq=False)
class Waiting:
    """A message in a queue; `returns` counts how often a consumer has left it."""

    body: bytes
    returns: int = 0


class Broker:
    """Queues by name. A message that was given to somebody is in none, and comes back when that one goes."""

    def __init__(self) -> None:
        self.losses = 0
        self.queues: dict[str, deque[Waiting]] = {}
        self.wipe()

    def wipe(self) -> None:
        """Lose all data."""
        self.losses += 1
        self.queues = {name: deque() for name in (RESULTS, REPORTS, DEAD)}

    def declare(self, name: str) -> None:
        self.queues.setdefault(name, deque())

    def route(self, message: Outgoing) -> bool:
        """Whether a queue has taken it; news, replies and orders to workers go nowhere here."""
        if message.exchange == EVENTS:
            self.queues[_ROUTES.get(message.key, REPORTS)].append(Waiting(message.body))
            return True
        if message.exchange != FRAMES:
            return True
        if message.key not in self.queues:
            return False
        self.queues[message.key].append(Waiting(message.body))
        return True


@dataclass(eq=False)
class _Sent:
    message: Outgoing
    done: Done | None


@dataclass(eq=False)
class FakeLink:
    """What a program does reaches the broker with `flush`; confirms come back with `confirm`."""

    broker: Broker
    session: int = 1
    orders: deque[Callable[[], None]] = field(default_factory=deque)
    confirms: deque[Callable[[], None]] = field(default_factory=deque)
    unacknowledged: dict[int, tuple[str, Waiting]] = field(default_factory=dict)
    declared: list[str] = field(default_factory=list)
    failure: DistrenError | None = None
    blocked: str | None = None
    _tags: int = 0
    _unconfirmed: dict[int, _Sent] = field(default_factory=dict)

    # -- what programs call ------------------------------------------------------------------------------------------

    def publish(self, message: Outgoing, done: Done | None = None) -> None:
        sent = _Sent(message, done)
        self._unconfirmed[id(sent)] = sent
        self.orders.append(partial(self._publish, sent))

    def acknowledge(self, delivery: Delivery, *, multiple: bool = False) -> None:
        self.orders.append(partial(self._acknowledge, delivery, multiple))

    def give_back(self, delivery: Delivery) -> None:
        self.orders.append(partial(self._give_back, delivery))

    def bury(self, delivery: Delivery) -> None:
        self.orders.append(partial(self._bury, delivery))

    def declare(self, queue: Queue) -> None:
        self.declared.append(queue.name)
        self.orders.append(lambda: self.broker.declare(queue.name))

    def purge(self, queue: str) -> None:
        self.orders.append(lambda: self.broker.queues.get(queue, deque()).clear())

    def count(self, queue: str, on_count: Callable[[int], None]) -> None:
        self.orders.append(lambda: on_count(len(self.broker.queues.get(queue, ()))))

    # -- what the test makes happen ----------------------------------------------------------------------------------

    def take(self, queue: str, at: int = 0) -> Delivery | None:
        """The broker delivers a message of `queue`, the `at`-th that waits; None where none waits."""
        waiting = self.broker.queues.get(queue)
        if not waiting:
            return None
        at %= len(waiting)
        message = waiting[at]
        del waiting[at]
        self._tags += 1
        self.unacknowledged[self._tags] = (queue, message)
        headers = {"x-delivery-count": message.returns} if message.returns else {}
        return Delivery(
            body=message.body,
            tag=self._tags,
            session=self.session,
            queue=queue,
            redelivered=message.returns > 0,
            headers=headers,
        )

    def flush(self, orders: int | None = None) -> None:
        """So many of the orders reach the broker; all, where no number is given."""
        for _ in range(len(self.orders) if orders is None else min(orders, len(self.orders))):
            self.orders.popleft()()

    def confirm(self) -> None:
        """All confirms that are on their way arrive."""
        while self.confirms:
            self.confirms.popleft()()

    def cut(self, *, lost: bool = False) -> None:
        """The connection ends: deliveries go back to their queues, and what is not confirmed will be sent again.

        `lost`: the broker has lost its data, so nothing goes back.
        """
        if not lost:
            for queue, message in reversed(self.unacknowledged.values()):
                message.returns += 1
                self.broker.queues.setdefault(queue, deque()).appendleft(message)
        self.unacknowledged.clear()
        self.orders.clear()
        self.confirms.clear()
        self.session += 1
        for queue in self.declared:
            self.broker.declare(queue)
        again, self._unconfirmed = list(self._unconfirmed.values()), {}
        for sent in again:
            if sent.message.persistent:
                self.publish(sent.message, sent.done)
            elif sent.done is not None:
                sent.done(BrokerUnavailable("the connection to the broker was lost"))

    # -- at the broker -----------------------------------------------------------------------------------------------

    def _publish(self, sent: _Sent) -> None:
        taken = self.broker.route(sent.message)
        self.confirms.append(partial(self._confirmed, sent, None if taken else NotFound("no queue takes it")))

    def _confirmed(self, sent: _Sent, error: DistrenError | None) -> None:
        del self._unconfirmed[id(sent)]
        if sent.done is not None:
            sent.done(error)

    def _acknowledge(self, delivery: Delivery, multiple: bool) -> None:
        if delivery.session == self.session:
            tags = [tag for tag in self.unacknowledged if tag <= delivery.tag] if multiple else [delivery.tag]
            for tag in tags:
                self.unacknowledged.pop(tag, None)

    def _bury(self, delivery: Delivery) -> None:
        if delivery.session == self.session and delivery.tag in self.unacknowledged:
            self.broker.queues[DEAD].append(Waiting(self.unacknowledged.pop(delivery.tag)[1].body))

    def _give_back(self, delivery: Delivery) -> None:
        if delivery.session == self.session and delivery.tag in self.unacknowledged:
            queue, message = self.unacknowledged.pop(delivery.tag)
            message.returns += 1
            self.broker.queues.setdefault(queue, deque()).appendleft(message)
