"""What a server does while it acts: for all that has arrived in a turn it makes one change of the database.

A turn: decode what has arrived; answer requests, each in a transaction of its own; apply all events and issue frames
in one transaction; after the commit acknowledge, publish what is owed, and tell the news.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError

from distren import failpoints
from distren.amqp.link import Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import CONTROL, DEAD, DEFAULT, REPORTS, REQUESTS, RESULTS
from distren.errors import DecodeError, DistrenError, OutputError
from distren.server import requests
from distren.server.fleet import REPORT_EVERY
from distren.server.lifecycle import Event
from distren.server.news import News
from distren.server.relay import Relay
from distren.server.results import store_result
from distren.server.state import State
from distren.server.turns import Turns
from distren.storage.identity import Deposed
from distren.wire.codec import Message, decode
from distren.wire.frames import Completed, Failed, Progress, Render, Report, ReportWanted, Started, Stop
from distren.wire.jobs import Change, Problem

log = logging.getLogger(__name__)

PREFETCH = {RESULTS: 500, REPORTS: 1_000, REQUESTS: 50, DEAD: 50}
"""What a server consumes, and how many deliveries of each it takes before it has acknowledged the first."""
_IDLE = 1.0
"""seconds after which confirmed messages leave the outbox even if nothing else happens"""
_DATABASE_WAIT = 1.0
"""seconds before a turn that the database refused (locked, disk full) is tried again"""


class Acting:
    """The work of one server between its start, or its taking over from another, and its end.

    Deliveries come from `consuming` and are acknowledged there; `publishing` takes all that is said to others.
    """

    def __init__(self, state: State, consuming: Link, publishing: Link, stopping: threading.Event) -> None:
        self._state, self._consuming, self._publishing, self._stopping = state, consuming, publishing, stopping
        self._relay = Relay(publishing)
        self._news = News(state, publishing)
        self._turns = Turns(state, self._relay, publishing)
        self._next_tick = 0.0
        self._next_news: float | None = None
        state.rearrange = self._rearrange

    def resume(self) -> None:
        """Take up what an earlier process left, and ask the workers who is there."""
        self._turns.resume()
        self._broadcast(ReportWanted())

    def settle(self) -> None:
        """Before an orderly end: what the broker has confirmed leaves the outbox."""
        with self._state.engine.begin() as connection:
            self._relay.settle(connection)

    def wait(self) -> float:
        """Seconds until the next thing is due that no message will tell of."""
        steady = self._state.steady()
        due = [self._next_tick - steady]
        if (retry := self._turns.next_retry) is not None:
            due.append(retry - self._state.now())
        if self._next_news is not None:
            due.append(self._next_news - steady)
        if self._relay.unsettled:
            due.append(_IDLE)
        return 0.0 if self._turns.wanted else max(min(due), 0.0)

    def turn(self, deliveries: Sequence[Delivery]) -> None:
        """Deal with all that has arrived, and with what is due. Raises Deposed, and DBAPIError after a stop."""
        events: list[Event] = []
        poisoned: list[Render] = []
        for delivery in deliveries:
            try:
                message = decode(delivery.body)
            except DecodeError as error:
                self._unreadable(delivery, error)
                continue
            self._sort(delivery, message, events, poisoned)
        self._change(events, poisoned)
        if deliveries:
            failpoints.reach("server.acknowledge.before")
            self._consuming.acknowledge(deliveries[-1], multiple=True)
            failpoints.reach("server.acknowledge.after")
        self._news.take()
        self._next_news = self._news.tell()

    def _sort(self, delivery: Delivery, message: Message, events: list[Event], poisoned: list[Render]) -> None:
        match message:
            case Completed():
                failure = store_result(self._state.store, message)
                failpoints.reach("server.result.stored")
                events.append(failure or message)
            case Started() | Failed():
                events.append(message)
            case Progress():
                self._state.progress[message.job, message.frame] = message.percent
                self._news.progress(message)
            case Report():
                self._hear(message)
            case Render() if delivery.queue == DEAD:
                poisoned.append(message)
            case _ if delivery.queue == REQUESTS:
                self._answer(delivery, message)
            case _:
                log.warning("message dropped: nothing here takes its type", extra={"type": message.type})

    def _change(self, events: list[Event], poisoned: list[Render]) -> None:
        """Make the turn's change; tries again for as long as the database refuses."""
        tick = self._state.steady() >= self._next_tick
        if not (events or poisoned or tick or self._turns.wanted or self._relay.unsettled):
            return
        while True:
            try:
                self._turns.commit(events, poisoned, tick=tick)
                break
            except DBAPIError as error:
                log.error("the database refuses a change, trying again: %s", error.orig)
                if self._stopping.wait(_DATABASE_WAIT):
                    raise
        if tick:
            self._relay.send_refused()
            self._next_tick = self._state.steady() + REPORT_EVERY

    # -- what is not a change of frames ------------------------------------------------------------------------------

    def _hear(self, report: Report) -> None:
        if self._state.fleet.hear(report, self._state.steady()):
            self._relay.declare(report.queue)
            self._turns.fleet_changed(report)

    def _answer(self, delivery: Delivery, message: Message) -> None:
        """Reply to a client; whatever goes wrong is its reply, in one line."""
        try:
            reply = requests.answer(self._state, message)
        except Deposed:
            raise
        except DistrenError as error:
            reply = _problem(error)
        except DBAPIError as error:
            reply = _problem(OutputError(f"the server's database refuses: {error.orig}"))
        except Exception:
            log.exception("request failed", extra={"type": message.type})
            reply = _problem(DistrenError(f"the server failed at {message.type}: its log says why"))
        self._turns.wanted = True
        self._reply(delivery, reply)
        failpoints.reach("server.reply.after")

    def _reply(self, delivery: Delivery, reply: Message) -> None:
        if delivery.reply_to is None:
            return
        self._publishing.publish(
            Outgoing(
                exchange=DEFAULT,
                key=delivery.reply_to,
                body=reply.encode(),
                correlation_id=delivery.correlation_id,
                persistent=False,
                type=reply.type,
            )
        )

    def _unreadable(self, delivery: Delivery, error: DecodeError) -> None:
        """Keep a message that can not be understood where an operator finds it, and go on."""
        log.warning("message not understood: %s", error, extra={"queue": delivery.queue})
        if delivery.queue == DEAD:
            return
        self._publishing.publish(Outgoing(exchange=DEAD, key="unreadable", body=delivery.body))
        self._reply(delivery, _problem(error))

    def _rearrange(self, change: Change) -> None:
        """After a cancel, pause or priority: frames that wait in queues may stand there wrongly."""
        if change.action == "cancel":
            ranges = change.frames
            numbers = (
                None if ranges is None else [n for first, last, step in ranges for n in range(first, last + 1, step)]
            )
            self._broadcast(Stop(job=change.job, frames=numbers))
        self._turns.withdraw_queues()

    def _broadcast(self, message: Message) -> None:
        self._publishing.publish(Outgoing(exchange=CONTROL, key="", body=message.encode(), type=message.type))


def _problem(error: DistrenError) -> Problem:
    return Problem(error=type(error).__name__, text=str(error)[:2_000])
