"""What a server does while it acts: for all that has arrived in a turn it makes one change of the database.

A turn: decode what has arrived; answer requests, in transactions of their own (server/answers.py); apply all events
and issue frames in one transaction; after the commit acknowledge, publish what is owed, and tell the news.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from distren import failpoints
from distren.amqp.link import Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import CONTROL, DEAD, DEFAULT, MARK, REPORTS, REQUESTS, RESULTS
from distren.errors import DecodeError, OutputError
from distren.server.answers import Answers, problem
from distren.server.changes import Changed
from distren.server.errands import Errands
from distren.server.examiner import Examiner
from distren.server.federation import Federation
from distren.server.fleet import REPORT_EVERY
from distren.server.lifecycle import Event
from distren.server.news import News
from distren.server.relay import Relay
from distren.server.replies import Replies
from distren.server.results import store_result
from distren.server.state import State
from distren.server.turns import Turns
from distren.wire.codec import Message, decode
from distren.wire.frames import Completed, Failed, Progress, Render, Report, ReportWanted, Started, Stop
from distren.wire.jobs import FrameNews, JobNews
from distren.wire.peers import ListPeers, PeersChanged

log = logging.getLogger(__name__)

PREFETCH = {RESULTS: 500, REPORTS: 1_000, REQUESTS: 50, DEAD: 50}
"""What a server consumes, and how many deliveries of each it takes before it has acknowledged the first."""
_IDLE = 1.0
"""seconds after which confirmed messages leave the outbox even if nothing else happens"""
_AGAIN = 1.0
"""seconds before what disk or database refused (full, locked) is tried again"""


@dataclass(kw_only=True)
class _Batch:
    """What one turn changes, and the deliveries that ask for it."""

    events: list[Event] = field(default_factory=list)
    returned: list[Render] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def add(self, delivery: Delivery, event: Event) -> None:
        self.events.append(event)
        self.deliveries.append(delivery)


class Acting:
    """The work of one server between its start, or its taking over from another, and its end.

    Deliveries come from `consuming` and are acknowledged there; `publishing` takes all that is said to others. `wake`
    is called, in a link's thread, when there is reason for a turn although nothing has been delivered.
    """

    def __init__(
        self,
        state: State,
        consuming: Link,
        publishing: Link,
        *,
        wake: Callable[[], None] = lambda: None,
        examiner: Examiner | None = None,
    ) -> None:
        self._wake = wake
        self._state, self._consuming, self._publishing = state, consuming, publishing
        self._relay = Relay(publishing)
        self._news = News(state, publishing, self._also)
        self._turns = Turns(state, self._relay, publishing)
        self._next_tick = 0.0
        self._next_news: float | None = None
        self._aside: list[Delivery] = []
        self._answers = Answers(state, wake, examiner)
        self._replies = Replies(publishing, wake)
        self._federation: Federation | None = None
        self._errands: Errands | None = None
        self._again_at, self._change_at, self._trouble = 0.0, 0.0, ""
        state.rearrange = self._rearrange
        state.ward = self._turns.ward

    def join(self, federation: Federation, errands: Errands) -> None:
        """From now on every turn deals with what peers say as well, and with what clients want of them."""
        self._federation, self._errands = federation, errands

    def note(self, changed: Changed) -> None:
        """Peers have changed something, or there is news of them that a turn has to deal with. Any thread may call."""
        self._turns.note(changed)

    def progressed(self, event: Progress) -> None:
        """An attempt at a frame of ours has come so far, here or at a peer."""
        self._state.progress[event.job, event.frame] = event.percent
        self._news.progress(event)

    def resume(self) -> None:
        """Take up what an earlier process left, and ask the workers who is there."""
        self._turns.resume()
        self._broadcast(ReportWanted())

    def connected(self) -> None:
        """The link that publishes is up, and the broker may have lost its data: see whether our mark is still there.

        Runs in the link's thread, as what follows.
        """

        def counted(messages: int) -> None:
            if messages == 0:
                self._turns.broker_is_new()
                self._publishing.publish(Outgoing(exchange=DEFAULT, key=MARK, body=self._state.name.encode()))
                self._wake()

        self._publishing.count(MARK, counted)

    def close(self) -> None:
        """End what goes on in threads of its own."""
        self._turns.collection.close()

    def queue_replaced(self, queue: str) -> None:
        """A queue could not be used any more and has been made again, empty. Runs in a link's thread."""
        self._turns.queue_is_new(queue)
        self._wake()

    def settle(self) -> None:
        """Before an orderly end: what the broker has confirmed leaves the outbox."""
        with self._state.engine.begin() as connection:
            self._relay.settle(connection)
        self._relay.settled()

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
        if self._answers.wanted:
            return 0.0
        if self._aside or steady < self._change_at:
            return max(self._again_at - steady, 0.0)
        return 0.0 if self._turns.wanted else max(min(due), 0.0)

    def turn(self, deliveries: Sequence[Delivery]) -> None:
        """Deal with all that has arrived, and with what is due. Raises Deposed and DatabaseDamaged.

        While disk or database take nothing, requests are answered all the same, and the rest waits.
        """
        batch = _Batch()
        again: list[Delivery] = []
        if self._state.steady() >= self._again_at:
            again, self._aside = self._aside, []
        replied = self._replies.settle()
        for delivery in (*again, *deliveries):
            try:
                message = decode(delivery.body)
            except DecodeError as error:
                self._unreadable(delivery, error)
                continue
            self._sort(delivery, message, batch)
        self._answers.turn()  # a part of a long change, after those who wait for an answer
        if self._federation is not None:
            self._federation.turn()
        if self._errands is not None:
            self._errands.look()
        if not self._change(batch):
            self._aside += batch.deliveries
        self._acknowledge(deliveries, [*again, *replied])
        self._news.take()
        self._next_news = self._news.tell()

    def _acknowledge(self, deliveries: Sequence[Delivery], again: Sequence[Delivery]) -> None:
        """All at once, or one by one while some have to be dealt with later."""
        if not (deliveries or again):
            return
        failpoints.reach("server.acknowledge.before")
        kept = [*self._aside, *self._replies.open]
        if deliveries and not kept:
            self._consuming.acknowledge(deliveries[-1], multiple=True)
        else:
            waiting = {id(delivery) for delivery in kept}
            for delivery in (*again, *deliveries):
                if id(delivery) not in waiting:
                    self._consuming.acknowledge(delivery)
        failpoints.reach("server.acknowledge.after")

    def _sort(self, delivery: Delivery, message: Message, batch: _Batch) -> None:
        match message:
            case Completed():
                try:
                    failure = store_result(self._state.store, message)
                except OutputError as error:
                    self._refused(f"results wait, as the disk does not take them: {error}")
                    self._aside.append(delivery)
                    return
                failpoints.reach("server.result.stored")
                batch.add(delivery, failure or message)
            case Started() | Failed():
                batch.add(delivery, message)
            case Progress():
                self.progressed(message)
                self._state.lending.progressed(message)
            case Report():
                self._hear(message)
            case Render() if delivery.queue == DEAD:
                batch.returned.append(message)
                batch.deliveries.append(delivery)
            case _ if delivery.queue == REQUESTS and self._is_for_a_peer(delivery, message):
                pass
            case ListPeers() | PeersChanged() if delivery.queue == REQUESTS and self._federation is not None:
                self._show_peers(delivery, message, self._federation)
            case _ if delivery.queue == REQUESTS:
                self._request(delivery, message)
            case _:
                log.warning("message dropped: nothing here takes its type", extra={"type": message.type})

    def _change(self, batch: _Batch) -> bool:
        """Make the turn's change; False where the database refuses: then it is made with a later turn."""
        steady = self._state.steady()
        tick = steady >= self._next_tick
        if steady < self._change_at:
            return False
        if not (batch.deliveries or tick or self._turns.wanted or self._relay.unsettled):
            return True
        try:
            self._turns.commit(batch.events, batch.returned, tick=tick)
        except DBAPIError as error:
            self._refused(f"changes wait, as the database refuses them: {error.orig}")
            self._change_at = self._again_at
            return False
        if self._turns.ward.hear(batch.events, steady):
            self._turns.wanted = True
        if self._trouble and not self._aside:
            log.info("changes and results are written again")
            self._trouble = ""
        if tick:
            self._relay.send_refused()
            self._next_tick = self._state.steady() + REPORT_EVERY
        return True

    def _refused(self, trouble: str) -> None:
        """Disk or database take nothing now; says so once, and has a later turn try again."""
        self._again_at = self._state.steady() + _AGAIN
        if not self._trouble:
            log.error("%s; trying again until they do", trouble)
            self._trouble = trouble

    # -- what is not a change of frames ------------------------------------------------------------------------------

    def _hear(self, report: Report) -> None:
        self._turns.ward.check(report)
        if self._state.fleet.hear(report, self._state.steady()):
            self._relay.declare(report.queue)
            self._turns.fleet_changed(report)

    def _request(self, delivery: Delivery, message: Message) -> None:
        def answered(reply: Message) -> None:
            self._replies.send(delivery, reply)
            failpoints.reach("server.reply.after")

        self._replies.expect(delivery)
        self.ask(message, answered)

    def ask(self, message: Message, reply: Callable[[Message], None]) -> None:
        """Have a client's or a peer's request answered, now or in a later turn. Raises Deposed."""

        def answered(found: Message) -> None:
            self._turns.wanted = True
            reply(found)

        self._answers.ask(message, answered)

    def _is_for_a_peer(self, delivery: Delivery, message: Message) -> bool:
        """Whether a request was for another server, and has been passed on."""
        return self._errands is not None and self._errands.take(delivery, message)

    def _also(self, news: JobNews | FrameNews) -> None:
        if self._federation is not None:
            self._federation.tell(news)

    def _show_peers(self, delivery: Delivery, message: ListPeers | PeersChanged, federation: Federation) -> None:
        if isinstance(message, PeersChanged):
            federation.reload()
        self._replies.send(delivery, federation.listing())

    def _unreadable(self, delivery: Delivery, error: DecodeError) -> None:
        """Keep a message that can not be understood where an operator finds it, and go on."""
        log.warning("message not understood: %s", error, extra={"queue": delivery.queue})
        if delivery.queue == DEAD:
            return
        self._publishing.publish(Outgoing(exchange=DEAD, key="unreadable", body=delivery.body))
        self._replies.send(delivery, problem(error))

    def _rearrange(self, stop: Stop | None) -> None:
        """After a cancel, pause or priority: frames that wait in queues may stand there wrongly."""
        if stop is not None:
            self._broadcast(stop)
        self._turns.withdraw_queues()

    def _broadcast(self, message: Message) -> None:
        self._publishing.publish(Outgoing(exchange=CONTROL, key="", body=message.encode(), type=message.type))
