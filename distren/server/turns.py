"""The change of a turn: events applied, what stands wrongly taken back, ready frames issued; one transaction."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable

from sqlalchemy import Connection

from distren import failpoints
from distren.amqp.link import Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import CONTROL
from distren.domain.lending import peer_of
from distren.domain.poison import STOPPED
from distren.domain.retries import MOST_WAIT
from distren.domain.states import FrameState
from distren.server import deletion, dispatch, unwanted
from distren.server.changes import Changed
from distren.server.collection import Collection
from distren.server.fleet import ENDED, SILENT_AFTER
from distren.server.judge import Judge
from distren.server.lifecycle import Event, Lifecycle
from distren.server.reconcile import Reconciler
from distren.server.relay import Relay
from distren.server.repair import Repair
from distren.server.state import State
from distren.server.ward import Ward
from distren.storage import frames as frame_rows
from distren.storage import outbox
from distren.storage import workers as worker_rows
from distren.storage.workers import WorkerRecord
from distren.wire.codec import Message
from distren.wire.frames import Render, Report, Stop

log = logging.getLogger(__name__)

_JUMP = 10.0
"""seconds by which wall clock and steady clock part before that counts as a jump: both drift a little"""
_FORGET_AFTER = 7 * 24 * 3600.0
"""seconds after which a worker that has gone is no longer listed"""


class Turns:
    """Makes one change after the other. `wanted` asks for a turn although nothing has arrived."""

    def __init__(self, state: State, relay: Relay, link: Link) -> None:
        self._state, self._relay, self._link = state, relay, link
        self._reconciler = Reconciler(state.name, state.fleet)
        self._repair = Repair()
        self.collection = Collection(state.store, state.keep_unused, state.steady(), state.now)
        self._retries: list[float] = []
        self._unsaved: dict[str, Report] = {}
        self._ended: set[str] = set()
        self.ward = Ward(state.fleet, self._broadcast)
        self._withdraw_all = self._broker_lost = False
        self._replaced: set[str] = set()
        self._offset = state.now() - state.steady()
        self.wanted = True

    def resume(self) -> None:
        """After a start: send what is owed, and remember when retries are due."""
        now = self._state.now()
        with self._state.engine.begin() as connection:
            frame_rows.retry_by(connection, now + MOST_WAIT.total_seconds())
            self._load_retries(connection, now)
            for queue in _own(frame_rows.issued_by_queue(connection)):
                self._relay.declare(queue)
            self.ward.resume(connection)
            self._relay.resume(connection)

    @property
    def next_retry(self) -> float | None:
        """Wall-clock time at which the next failed frame may be tried again."""
        return self._retries[0] if self._retries else None

    def fleet_changed(self, report: Report) -> None:
        """A worker has come, gone or changed what it takes."""
        self._unsaved[report.worker] = report
        if report.state == ENDED:
            self._ended.add(report.worker)
        self.wanted = True

    def withdraw_queues(self) -> None:
        """Take back, with the next turn, every frame that waits in a queue: the order has changed."""
        self._withdraw_all = self.wanted = True

    def broker_is_new(self) -> None:
        """The broker has none of our messages: every frame that waits is issued again, with the next turn.

        May be called by any thread.
        """
        self._broker_lost = self.wanted = True

    def queue_is_new(self, queue: str) -> None:
        """The queue had to be made again: the frames that waited in it are issued again, with the next turn.

        May be called by any thread.
        """
        self._replaced.add(queue)
        self.wanted = True

    def commit(self, events: list[Event], returned: list[Render], *, tick: bool) -> None:
        """Make the turn's change. Raises SQLAlchemy's DBAPIError; then nothing has changed, and it can be repeated."""
        state, now, steady = self._state, self._state.now(), self._state.steady()
        lost, replaced = self._broker_lost, set(self._replaced)
        with state.engine.begin() as connection:
            offset = self._mind_the_clock(connection, now, steady)
            applied = _apply(connection, events, returned, now)
            for queue, count in applied.finished_by_queue.items():
                state.fleet.finished(queue, count, steady)
            withdrawing = Lifecycle(connection, now)
            emptied = self._withdraw(connection, withdrawing, replaced, tick=tick, steady=steady)
            state.lending.withdraw(connection, withdrawing, everything=self._withdraw_all, tick=tick)
            withdrawn = withdrawing.save()
            mending = Lifecycle(connection, now)
            self._requeue_stopped(connection, mending)
            stops = self._reconcile(connection, mending, now, steady) if tick else []
            mended = mending.save()
            if self._repair.is_due(steady):
                self._repair.run(connection, now, steady)
            issuing = Lifecycle(connection, now)
            judge = Judge(connection, issuing, state.fleet, steady=steady, kills=state.kills, up=steady - state.opened)
            owing = dispatch.fill(
                connection, issuing, state.fleet, now=now, steady=steady, lending=state.lending, judge=judge
            )
            issued = issuing.save()
            owed = outbox.add(connection, state.lending.lend(connection, owing))
            state.lending.hear(events)
            followed = state.lending.follow(connection, tick=tick)
            self._relay.settle(connection)
            self._save_workers(connection, tick=tick)
            self.ward.save(connection)
            if state.sweeping:
                state.sweeping = deletion.remove_some(connection, state.arriving)
                if state.sweeping:
                    self.collection.hasten(steady)
            collecting = self.collection.turn(connection, steady)
            failpoints.reach("server.commit.before")
        failpoints.reach("server.commit.after")
        self._relay.settled()
        for queue in emptied:
            self._link.purge(queue)
        self._relay.send(owed)
        for stop in stops:
            self._broadcast(stop)
        self._offset = offset
        if lost:
            self._broker_lost = False
        self._replaced -= replaced
        self.wanted = self._broker_lost or bool(self._replaced) or state.sweeping or collecting
        self._committed([applied, withdrawn, mended, issued], now)
        state.lending.committed()
        for changed in followed:
            self.note(changed)
        if tick:
            self._count_queues()

    def _reconcile(self, connection: Connection, lifecycle: Lifecycle, now: float, steady: float) -> list[Stop]:
        """Take back what is issued and nobody holds; what to tell workers of what they hold and nobody wants."""
        issued = frame_rows.issued(connection)
        self._reconciler.check(lifecycle, issued, now=now, steady=steady)
        return unwanted.stops(connection, self._state.fleet.alive(steady), issued)

    def _requeue_stopped(self, connection: Connection, lifecycle: Lifecycle) -> None:
        """Workers that have ended in good order gave their frames back, which says nothing against the frames."""
        if not self._ended:
            return
        for stored in frame_rows.issued(connection):
            if stored.frame.worker in self._ended:
                lifecycle.requeue(stored, STOPPED)

    def _mind_the_clock(self, connection: Connection, now: float, steady: float) -> float:
        """Retries are due by the wall clock, which outlives us; when it is set, their times are set with it.

        Returns what the wall clock is ahead of the steady one, in seconds.
        """
        jump = now - steady - self._offset
        if abs(jump) > _JUMP:
            log.warning("the clock was set by %+.0f s; retries wait as long as before", jump)
            frame_rows.shift_retries(connection, jump)
            self._load_retries(connection, now)
        return now - steady

    def _load_retries(self, connection: Connection, now: float) -> None:
        self._retries = frame_rows.retry_times(connection, now)
        heapq.heapify(self._retries)

    def _broadcast(self, message: Message) -> None:
        self._link.publish(Outgoing(exchange=CONTROL, key="", body=message.encode(), type=message.type))

    def _committed(self, changes: list[Changed], now: float) -> None:
        self._withdraw_all = False
        self._ended.clear()
        self.ward.saved()
        while self._retries and self._retries[0] <= now:
            heapq.heappop(self._retries)
        for changed in changes:
            self._remember(changed)

    def note(self, changed: Changed) -> None:
        """Something has changed outside of a turn's own transaction, or may be done now: another turn is wanted."""
        self._remember(changed)
        self.wanted = True

    def _remember(self, changed: Changed) -> None:
        if changed.frames or changed.jobs:
            self._state.changed.append(changed)
        for due in changed.retries:
            heapq.heappush(self._retries, due)

    def _withdraw(
        self, connection: Connection, lifecycle: Lifecycle, replaced: set[str], *, tick: bool, steady: float
    ) -> set[str]:
        """Take back the frames that wait in queues that are to be emptied, are empty, or that nobody consumes."""
        everything = self._withdraw_all or self._broker_lost
        if not (everything or replaced or tick):
            return set()
        alive = self._state.fleet.queues(steady)
        found = _own(frame_rows.issued_by_queue(connection))
        queues = {
            queue
            for queue in found
            if everything or queue in replaced or (tick and self._abandoned(queue, alive, steady))
        }
        reason = "its place in the order changed" if everything else "no worker of its class is there"
        if self._broker_lost and queues:
            log.warning("the broker has lost its data: what waited in its queues is issued again")
            self._reconciler.broker_lost()
            reason = "the broker had lost its data"
        for queue in queues:
            why = "its queue had to be made again" if queue in replaced else reason
            for stored in frame_rows.issued(connection, queue=queue):
                if stored.frame.state is FrameState.QUEUED:
                    lifecycle.take_back(stored, why)
        return queues

    def _abandoned(self, queue: str, alive: set[str], steady: float) -> bool:
        """A queue without workers; for a while after the start they may only not have reported yet."""
        return queue not in alive and steady - self._state.opened > SILENT_AFTER

    def _count_queues(self) -> None:
        with self._state.engine.begin() as connection:
            queues = _own(frame_rows.issued_by_queue(connection))
        for queue in queues:
            self._relay.declare(queue)
            self._link.count(queue, lambda messages, queue=queue: self._reconciler.counted(queue, messages))  # type: ignore[misc]

    def _save_workers(self, connection: Connection, *, tick: bool) -> None:
        if tick:
            worker_rows.forget(connection, before=self._state.now() - _FORGET_AFTER)
            for report in self._state.fleet.alive(self._state.steady()):
                self._unsaved[report.worker] = report
        for report in self._unsaved.values():
            worker_rows.save(connection, _record(report, self._state.now()))
        self._unsaved.clear()


def _own(queues: Iterable[str]) -> list[str]:
    """Those of the queues that are of our broker, and do not stand for a peer."""
    return [queue for queue in queues if peer_of(queue) is None]


def _apply(connection: Connection, events: list[Event], returned: list[Render], now: float) -> Changed:
    lifecycle = Lifecycle(connection, now)
    lifecycle.apply(events)
    for render in returned:
        lifecycle.come_back(render, "it came back from every worker that took it", settle=SILENT_AFTER + 1)
    return lifecycle.save()


def _record(report: Report, now: float) -> WorkerRecord:
    return WorkerRecord(
        name=report.worker,
        host=report.host,
        pool=report.pool,
        queue=report.queue,
        renderers=report.renderers,
        slots=report.slots,
        room=report.room,
        state=report.state,
        cores=report.cores,
        memory=report.memory,
        sandboxed=report.sandboxed,
        seen=now,
        started=report.started,
    )
