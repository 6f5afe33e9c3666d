"""A link: one connection to the broker that has its own thread, and comes back by itself.

pika's connections belong to one thread. A link gives every other thread a few safe calls (publish, acknowledge,
consume, cancel) that only append to a queue and wake the link's thread, so that network I/O happens in one place.
A persistent message that is published is sent again after each reconnection until the broker confirms it: its
receiver may see it twice, never not at all. Confirms are not waited for one by one (that would cost 1 ms each).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pika.channel import Channel

from distren.amqp import address
from distren.amqp.bulk import BulkConnection
from distren.amqp.publisher import Done, Outgoing, Publisher, Sending
from distren.amqp.standing import Consumer as Consumer
from distren.amqp.standing import Delivery as Delivery
from distren.amqp.standing import Standing
from distren.amqp.topology import Exchange, Queue
from distren.errors import BrokerUnavailable, Conflict, DistrenError

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
"""seconds between attempts to reconnect; doubled each time"""
_LOOK_EVERY = 0.25
"""seconds between looks whether a link that waits for its broker is still wanted"""
HEARTBEAT = 10
"""seconds; a peer that is silent for twice that long is gone"""
_RESOURCE_LOCKED = 405


class _Away:
    """Which links of this process miss their broker: what is said of it is said once for all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, set[int]] = {}

    def add(self, url: str, link: object) -> bool:
        """Whether it is the first of those that miss the broker at `url`."""
        with self._lock:
            links = self._links.setdefault(url, set())
            links.add(id(link))
            return len(links) == 1

    def remove(self, url: str, link: object) -> bool:
        """Whether it is the last one."""
        with self._lock:
            links = self._links.get(url, set())
            last = links == {id(link)}
            links.discard(id(link))
            return last


_away = _Away()


class Link:
    """One connection, its thread, and what is declared and consumed each time it (re)opens.

    `name` is what the management UI shows. `on_up` runs in the link's thread after each opening, when exchanges,
    queues and consumers are back; `on_replaced` hears there of a quorum queue that could not be used any more and has
    been made again, empty: a link without it leaves that to others. A link that is not `patient` fails its start when
    there is no broker. `heartbeat` is in seconds: a broker or program that is silent for twice as long is gone.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        exchanges: Iterable[Exchange] = (),
        queues: Iterable[Queue] = (),
        on_up: Callable[[], None] | None = None,
        on_down: Callable[[], None] | None = None,
        on_replaced: Callable[[str], None] | None = None,
        patient: bool = False,
        heartbeat: int = HEARTBEAT,
    ) -> None:
        self.name = name
        self._url = url
        self._parameters = address.parameters(url, name=name, heartbeat=heartbeat)
        self._standing = Standing(exchanges, queues, self._guarded, on_replaced)
        self.on_up, self._on_down = on_up, on_down
        self._patient = patient
        self._orders: deque[Callable[[], None]] = deque()
        self._woken = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"link {name}", daemon=True)
        self._connection: BulkConnection | None = None
        self._channel: Channel | None = None
        self._session = 0
        self._publisher = Publisher(self._guarded, self._report_idle, self._refused)
        self._closing = threading.Event()
        self._poke = threading.Event()
        self._first = threading.Event()
        self._ended = False
        self._failure: DistrenError | None = None
        self._idle = threading.Condition()
        self._blocked: str | None = None

    # -- what any thread may call --------------------------------------------------------------------------------

    def start(self, timeout: float = 20.0, *, wanted: Callable[[], bool] = lambda: True) -> None:
        """Connect. Raises AccessRefused, SettingsError (no TLS), Conflict (a queue's name is taken), BrokerUnavailable.

        A patient link waits for a broker that does not answer as long as it is `wanted`; what waiting can not mend,
        such as a wrong password, is an error at once.
        """
        self._thread.start()
        until = time.monotonic() + timeout
        while not self._first.wait(min(timeout, _LOOK_EVERY)):
            if not wanted() if self._patient else time.monotonic() >= until:
                self.close()
                raise BrokerUnavailable(
                    f"the broker at {address.shown(self._url)} did not answer within {timeout:.0f} s"
                )
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    @property
    def failure(self) -> DistrenError | None:
        """Why the link has ended for good; None while it lives."""
        return self._failure

    @property
    def is_up(self) -> bool:
        return self._usable() is not None

    @property
    def session(self) -> int:
        """Counts the openings; a delivery of an earlier session can not be acknowledged any more."""
        return self._session

    @property
    def blocked(self) -> str | None:
        """Why the broker takes nothing from us now (an alarm: it is low on memory or disk); None where it does.

        Told once we have tried to publish; consumers go on all the while.
        """
        return self._blocked

    def publish(self, message: Outgoing, done: Done | None = None) -> None:
        """Send `message`; `done` is called in the link's thread with None once the broker has it, or with an error.

        NotFound: no queue takes it. BrokerUnavailable: the message is transient and the connection is down or was
        lost, or the link has ended (then `done` may be called before this returns).
        """
        self._order(partial(self._send, Sending(message, done)))

    def publish_all(self, messages: Iterable[Outgoing], timeout: float | None = None) -> None:
        """Send `messages` and wait until the broker has confirmed all.

        Raises the first error of `publish`, and BrokerUnavailable where that takes more than `timeout` seconds.
        """
        ended: list[DistrenError | None] = []
        finished = threading.Event()
        messages = list(messages)

        def one(error: DistrenError | None) -> None:
            ended.append(error)
            if len(ended) == len(messages):
                finished.set()

        for message in messages:
            self.publish(message, one)
        if messages and not finished.wait(timeout):
            raise BrokerUnavailable(f"the broker confirmed {len(ended)} of {len(messages)} messages in {timeout} s")
        for error in ended:
            if error is not None:
                raise error

    def acknowledge(self, delivery: Delivery, *, multiple: bool = False) -> None:
        """The message is dealt with; `multiple`: so are all before it. Nothing happens if its connection is gone."""
        self._order(partial(self._answer, delivery, "basic_ack", multiple=multiple))

    def give_back(self, delivery: Delivery) -> None:
        """Put the message back into its queue, for another consumer."""
        self._order(partial(self._answer, delivery, "basic_nack", requeue=True))

    def bury(self, delivery: Delivery) -> None:
        """Drop the message: it goes where its queue sends dead letters, if anywhere."""
        self._order(partial(self._answer, delivery, "basic_nack", requeue=False))

    def consume(self, consumer: Consumer) -> None:
        """Begin to consume, now and after each reconnection."""
        self._order(lambda: self._standing.consume(self._usable(), self._session, consumer))

    def cancel(self, tag: str) -> None:
        """End a consumer; what it has been given stays with us until it is acknowledged."""
        self._order(lambda: self._standing.cancel(self._usable(), tag))

    def declare(self, queue: Queue) -> None:
        """Declare and bind a queue, now and after each reconnection."""
        self._order(lambda: self._standing.declare(self._usable(), queue))

    def unbind(self, queue: Queue) -> None:
        """Take back the bindings of a queue that `declare` was given; the queue itself stays."""
        self._order(lambda: self._standing.unbind(self._usable(), queue))

    def purge(self, queue: str) -> None:
        """Empty a queue of the messages that wait in it."""
        self._order(partial(self._purge, queue))

    def count(self, queue: str, on_count: Callable[[int], None]) -> None:
        """Ask how many messages wait in a queue that is declared here; `on_count` runs in the link's thread."""
        self._order(partial(self._count, queue, on_count))

    def flush(self, timeout: float) -> bool:
        """Wait until all that was published is confirmed; False if that took longer than `timeout` seconds."""
        with self._idle:
            return self._idle.wait_for(self._all_sent, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """End the connection; what is not confirmed is given up."""
        self._closing.set()
        self._wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    # -- orders from other threads -----------------------------------------------------------------------------------

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        if self._ended:
            self._obey_all()
        elif not self._woken:
            self._woken = True
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.ioloop.add_callback_threadsafe(self._obey)
            else:
                self._poke.set()

    def _obey(self) -> None:
        """Do what other threads have asked for; while the connection opens, that waits until it is open."""
        self._woken = False
        if self._channel is not None:
            self._obey_all()
        connection = self._connection
        if self._closing.is_set() and connection is not None:
            if connection.is_open:
                connection.close()
            elif not connection.is_closing:
                connection.ioloop.stop()

    def _obey_all(self) -> None:
        while self._orders:
            try:
                order = self._orders.popleft()
            except IndexError:  # after the end, several threads may be here
                break
            self._guarded(order)
        self._report_idle()

    @staticmethod
    def _guarded(call: Callable[..., None], *arguments: Any) -> None:
        """Call what is not ours, or may find the channel just closed: an error in it must not end the thread."""
        try:
            call(*arguments)
        except Exception:
            log.exception("an error in the thread of a link")

    def _usable(self) -> Channel | None:
        channel = self._channel
        return channel if channel is not None and channel.is_open else None

    # -- the link's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait, told = FIRST_WAIT, False
        while not self._closing.is_set() and self._failure is None:
            session = self._session
            error = self._live()
            if self._closing.is_set() or self._failure is not None:
                break
            if self._session != session:
                wait, told = FIRST_WAIT, False
            if not self._first.is_set() and not self._patient:
                self._failure = error
                break
            if not told:
                if _away.add(self._url, self):
                    log.warning("no connection to the broker, trying again until it is back: %s", error)
                told = True
            self._rest(wait)
            wait = min(wait * 2, LONGEST_WAIT)
        self._end()

    def _rest(self, seconds: float) -> None:
        """Wait while there is no connection, and do what can be done without one."""
        until = time.monotonic() + seconds
        while not self._closing.is_set() and (left := until - time.monotonic()) > 0:
            self._woken = False
            self._obey_all()
            self._poke.wait(left)
            self._poke.clear()

    def _end(self) -> None:
        """Tell everybody who waits for a confirm that it will not come."""
        self._ended = True
        _away.remove(self._url, self)
        self._obey_all()
        self._publisher.give_up(self._why_ended())
        self._first.set()
        self._report_idle()

    def _why_ended(self) -> DistrenError:
        return self._failure or BrokerUnavailable(f"the connection to {address.shown(self._url)} has been closed")

    def _live(self) -> DistrenError:
        """Open the connection and serve it until it ends; what ended it."""
        ended: list[DistrenError] = []

        def stop(error: DistrenError) -> None:
            ended.append(error)
            connection.ioloop.stop()

        def on_failed(_: Any, error: Any) -> None:
            translated = address.translate(error, self._url)
            if not isinstance(translated, BrokerUnavailable) and not self._first.is_set():
                self._failure = translated
            stop(translated)

        def on_closed(_: Any, error: Any) -> None:
            self._standing.ended(getattr(error, "reply_code", 0))
            stop(BrokerUnavailable(f"the broker at {address.shown(self._url)} closed the connection: {error}"))

        connection = BulkConnection(
            self._parameters,
            on_open_callback=lambda opened: opened.channel(on_open_callback=self._opened),
            on_open_error_callback=on_failed,
            on_close_callback=on_closed,
        )
        connection.add_on_connection_blocked_callback(self._hold_back)
        connection.add_on_connection_unblocked_callback(self._go_on)
        with self._lock:
            self._connection = connection
        try:
            connection.ioloop.start()
        except Exception as error:
            log.exception("the connection to the broker broke down")
            stop(BrokerUnavailable(f"the connection to {address.shown(self._url)} broke down: {error!r}"))
        finally:
            with self._lock:
                self._connection = None
            self._lost()
            connection.ioloop.close()
        return ended[0] if ended else BrokerUnavailable("the connection ended")

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_cancel_callback(self._consumer_ended)
        self._publisher.open(channel)
        self._standing.open(channel, self._session + 1)
        # The broker answers in order: when this answer comes, all of the above is in force.
        channel.basic_qos(prefetch_count=0, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Channel) -> None:
        self._channel = channel
        self._session += 1
        if _away.remove(self._url, self) and self._first.is_set():
            log.info("connected to the broker again")
        self._publisher.resume(channel)
        self._standing.opened()
        if self.on_up is not None:
            self._guarded(self.on_up)
        self._first.set()
        self._obey()

    def _channel_closed(self, channel: Channel, error: Any) -> None:
        """A channel that the broker closes takes its connection along: both come back together.

        After a reconnection the name may be taken by our own lost connection, until the broker notices its end.
        """
        if getattr(error, "reply_code", 0) == _RESOURCE_LOCKED and not self._first.is_set():
            self._failure = Conflict(f"the name is taken: {getattr(error, 'reply_text', error)}")
        if channel.connection.is_open:
            if not self._closing.is_set() and self._failure is None:
                log.warning("the broker closed a channel: %s", error)
            channel.connection.close()

    def _consumer_ended(self, frame: Any) -> None:
        """The broker ends a consumer whose queue was deleted: opened again, the connection declares it anew."""
        channel = self._channel
        if channel is not None and channel.is_open and not self._closing.is_set():
            log.warning("a queue has been deleted, it is made again", extra={"consumer": frame.method.consumer_tag})
            channel.connection.close()

    def _hold_back(self, _: Any, frame: Any) -> None:
        self._blocked = str(frame.method.reason or "an alarm")
        log.warning("the broker takes no messages now (%s); what is to be sent waits", self._blocked)

    def _go_on(self, *_: Any) -> None:
        self._blocked = None
        log.info("the broker takes messages again")

    def _lost(self) -> None:
        self._blocked = None
        was_up, self._channel = self._channel is not None, None
        self._publisher.lost()
        if was_up and self._on_down is not None:
            self._guarded(self._on_down)

    # -- consuming ---------------------------------------------------------------------------------------------------

    def _purge(self, queue: str) -> None:
        if (channel := self._usable()) is not None:
            channel.queue_purge(queue, callback=lambda _: None)

    def _count(self, queue: str, on_count: Callable[[int], None]) -> None:
        if (channel := self._usable()) is not None:
            channel.queue_declare(
                queue,
                passive=True,
                callback=lambda frame: self._guarded(partial(on_count, frame.method.message_count)),
            )

    def _answer(self, delivery: Delivery, answer: str, **flags: Any) -> None:
        channel = self._usable()
        if channel is not None and delivery.session == self._session:
            getattr(channel, answer)(delivery.tag, **flags)

    # -- publishing --------------------------------------------------------------------------------------------------

    def _send(self, sending: Sending) -> None:
        if self._ended:
            self._publisher.finish(sending, self._why_ended())
        else:
            self._publisher.send(sending, self._usable())

    def _refused(self, message: Outgoing) -> None:
        """The broker has not taken a message; a queue that is to be made again comes with the next connection."""
        connection = self._connection
        if connection is not None and connection.is_open and self._standing.refused(message.exchange, message.key):
            connection.cut("a queue takes nothing")

    def _all_sent(self) -> bool:
        return not self._orders and self._publisher.is_idle

    def _report_idle(self) -> None:
        if self._all_sent():
            with self._idle:
                self._idle.notify_all()
