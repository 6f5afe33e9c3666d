"""The server process: takes what arrives in turns, and for each turn makes one change of the database.

A turn: decode what has arrived; answer requests, each in a transaction of its own; apply all events and issue frames
in one transaction; after the commit acknowledge, publish what is owed, and tell the news.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import (
    CONTROL,
    DEAD,
    DEFAULT,
    EXCHANGES,
    REPORTS,
    REQUESTS,
    RESULTS,
    SERVER_QUEUES,
    Queue,
)
from distren.config import Settings
from distren.errors import Conflict, DecodeError, DistrenError, OutputError
from distren.server import requests
from distren.server.blobs import BlobService
from distren.server.federation import Federation, problem
from distren.server.fleet import REPORT_EVERY
from distren.server.lending import Lending
from distren.server.lifecycle import Event
from distren.server.news import News
from distren.server.relay import Relay
from distren.server.results import store_result
from distren.server.state import State
from distren.server.turns import Turns
from distren.storage import identity, schema
from distren.storage.blobstore import BlobStore
from distren.storage.engine import open_engine
from distren.wire.codec import Message, decode
from distren.wire.frames import Completed, Failed, Progress, Render, Report, ReportWanted, Started, Stop
from distren.wire.jobs import Change
from distren.wire.peers import ListPeers, PeersChanged

log = logging.getLogger(__name__)

TURN = 1_000
"""deliveries that one turn takes at most"""
_IDLE = 1.0
"""seconds after which confirmed messages leave the outbox even if nothing else happens"""
_DATABASE_WAIT = 1.0
"""seconds before a turn that the database refused (locked, disk full) is tried again"""
_PREFETCH = {RESULTS: 500, REPORTS: 1_000, REQUESTS: 50, DEAD: 50}
_ALONE = Queue(name="distren.server", exclusive=True)
"""One server acts on a broker at a time; its connection holds this queue."""


class Server:
    """A server; `run` blocks until `stop` is called from another thread or a signal handler.

    Raises SchemaError, Conflict (the database is another server's; another server runs on this broker),
    AccessRefused and OutputError.
    """

    def __init__(self, settings: Settings, broker_url: str) -> None:
        self._settings = settings
        self._broker_url = broker_url
        self._inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._next_tick = 0.0
        self._next_news: float | None = None

    @property
    def engine(self) -> Engine:
        """The database, once the server runs."""
        return self._state.engine

    def lent_room(self) -> dict[str, int]:
        """How many frames peers take, by what stands for their queues."""
        return {queue: offer.room for queue, offer in self._state.fleet.offers.items()}

    def stop(self) -> None:
        """End the server after the turn that it is in."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        with ExitStack() as stack:
            self._open(stack)
            log.info("server %s is ready", self._state.name)
            while not self._stopping.is_set():
                self._turn(self._take())
                if self._consuming.failure is not None:
                    raise self._consuming.failure
            self._publishing.flush(5.0)
            with self._state.engine.begin() as connection:
                self._relay.settle(connection)

    # -- opening -----------------------------------------------------------------------------------------------------

    def _open(self, stack: ExitStack) -> None:
        engine = open_engine(self._settings.database_url)
        stack.callback(engine.dispose)
        schema.check(engine)
        store = BlobStore(self._settings.blobs)
        with engine.begin() as connection:
            given = "server" in self._settings.model_fields_set
            name = None if given else identity.stored_name(connection)
            name = identity.claim(connection, (name or self._settings.server).lower(), time.time())
        self._state = State(name=name, engine=engine, store=store, rearrange=self._rearrange)
        self._consuming = self._link(f"server {name} (requests, results)", [*SERVER_QUEUES, _ALONE])
        self._publishing = self._link(f"server {name} (frames, replies)", SERVER_QUEUES)
        try:
            self._consuming.start()
        except Conflict as error:
            raise Conflict(f"another server runs on this broker: {error}") from error
        stack.callback(self._consuming.close)
        self._publishing.start()
        stack.callback(self._publishing.close)
        self._news = News(self._state, self._publishing)
        self._relay = Relay(self._publishing)
        self._turns = Turns(self._state, self._relay, self._publishing)
        self.federation = self._federated(stack)
        blobs = BlobService(self._broker_url, name, store)
        blobs.start()
        stack.callback(blobs.stop)
        self._resume()
        for source, prefetch in _PREFETCH.items():
            self._consuming.consume(
                Consumer(queue=source, tag=f"server {name} {source}", on_delivery=self._inbox.put, prefetch=prefetch)
            )

    def _federated(self, stack: ExitStack) -> Federation:
        """Among the peers, from here until the server ends."""
        federation = Federation(
            self._state,
            self._settings,
            self._broker_url,
            answer=self._answer,
            wake=partial(self._inbox.put, None),
            on_client=lambda *_: None,
        )
        lending = Lending(self._state, federation, self._settings, note=self._turns.note)
        self._state.lending = lending
        stack.callback(lending.stop)
        stack.callback(federation.stop)
        federation.start()
        return federation

    def _link(self, name: str, queues: Sequence[Queue]) -> Link:
        return Link(self._broker_url, name=name, exchanges=EXCHANGES, queues=queues, patient=True)

    def _resume(self) -> None:
        """Take up what an earlier process left, and ask the workers who is there."""
        self._turns.resume()
        self._broadcast(ReportWanted())

    # -- a turn ------------------------------------------------------------------------------------------------------

    def _take(self) -> list[Delivery]:
        """What has arrived; waits for it until something else is due."""
        wait = self._wait()
        taken: list[Delivery] = []
        try:
            first = self._inbox.get(timeout=wait) if wait > 0 else self._inbox.get_nowait()
            while first is not None:
                taken.append(first)
                if len(taken) == TURN:
                    break
                first = self._inbox.get_nowait()
        except queue.Empty:
            pass
        return taken

    def _wait(self) -> float:
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

    def _turn(self, deliveries: list[Delivery]) -> None:
        events: list[Event] = []
        poisoned: list[Render] = []
        for delivery in deliveries:
            try:
                message = decode(delivery.body)
            except DecodeError as error:
                self._unreadable(delivery, error)
                continue
            self._sort(delivery, message, events, poisoned)
        self.federation.turn()
        self._change(events, poisoned)
        if deliveries:
            self._consuming.acknowledge(deliveries[-1], multiple=True)
        self._news.take()
        self._next_news = self._news.tell()

    def _sort(self, delivery: Delivery, message: Message, events: list[Event], poisoned: list[Render]) -> None:
        match message:
            case Completed():
                failure = store_result(self._state.store, message)
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
            case ListPeers() | PeersChanged() if delivery.queue == REQUESTS:
                self._show_peers(delivery, message)
            case _ if delivery.queue == REQUESTS:
                self._reply(delivery, self._answer(message))
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

    def _answer(self, message: Message) -> Message:
        """The reply to a client or a peer; whatever goes wrong is the reply, in one line."""
        self._turns.wanted = True
        try:
            return requests.answer(self._state, message)
        except DistrenError as error:
            return problem(error)
        except DBAPIError as error:
            return problem(OutputError(f"the server's database refuses: {error.orig}"))
        except Exception:
            log.exception("request failed", extra={"type": message.type})
            return problem(DistrenError(f"the server failed at {message.type}: its log says why"))

    def _show_peers(self, delivery: Delivery, message: ListPeers | PeersChanged) -> None:
        if isinstance(message, PeersChanged):
            self.federation.reload()
        self._reply(delivery, self.federation.listing())

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
        self._reply(delivery, problem(error))

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
