"""A worker: takes frames of its class from the broker, renders them in its slots, sends what became of them.

Threads: one for each link (network only), one for each slot that has ever been used, and the one that calls `run`,
which keeps the clock: reports, room, repetitions, and the orders to drain or to give everything back.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Literal

from distren.amqp import topology
from distren.amqp.blob_holder import BlobHolder
from distren.amqp.blob_receiver import BlobReceiver
from distren.amqp.link import Delivery
from distren.config import Settings
from distren.errors import BrokerUnavailable
from distren.renderers import registry
from distren.renderers.protocol import Allowance, Renderer
from distren.storage.blobstore import BlobStore
from distren.wire import blobs as wire_blobs
from distren.wire.frames import Quarantine, ReadLog, Render, ReportWanted, Stop
from distren.wire.jobs import JobNews
from distren.worker import checkpoints, limits, process, reports, sandbox, scratch, skills
from distren.worker.cache import InputCache, forget
from distren.worker.followers import Followers
from distren.worker.hand import Ending, Hand, Holding, Stage
from distren.worker.intake import Intake
from distren.worker.limits import size
from distren.worker.lines import connect
from distren.worker.load import Admission
from distren.worker.machine import Machine
from distren.worker.places import Places
from distren.worker.reports import State
from distren.worker.results import Results
from distren.worker.room import ahead, room
from distren.worker.slots import Slots, Tools
from distren.worker.warming import Warming

log = logging.getLogger(__name__)

EARLY = 20 * 60.0
"""seconds of rendering after which a frame is acknowledged: brokers take unacknowledged ones back after 30 minutes"""
TICK = 1.0
"""seconds between looks at the clock"""
MEASURE = 0.25
"""seconds between looks at the machine while frames render and the slots follow what is free"""
STALE = 2.0
"""seconds that a frame may wait here for a slot that is busy for long; then another worker may have it"""
LEAVE = process.GRACE + 0.5
"""seconds that renders and confirms get at most when everything is given back"""
_ROOM_AGAIN = 100 * 10**6
"""bytes beyond what must be free, with which a worker whose disk was full takes frames again"""
_KEPT = timedelta(days=1)
"""how long the beginning of a file stays whose transfer was interrupted"""


class _Order(Enum):
    DRAIN = "drain"
    QUARANTINE = "quarantine"
    RELEASE = "release"
    GIVE_BACK = "give back"
    LOOK = "look"  #: something has changed
    REPORT = "report"


_TOLD = (_Order.REPORT, _Order.DRAIN, _Order.QUARANTINE, _Order.RELEASE)
"""orders after which the server has to know how things stand"""


class Worker:
    """The inside of a worker process: `run` is called once, `drain` and `give_back` by any thread or signal handler.

    `name`: None for `<host>-<n>`. `renderers`: None for all that this machine can run. `adapters` takes the place of
    those that are installed, `early` that of EARLY.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        broker_url: str,
        name: str | None = None,
        pool: str = "default",
        renderers: Sequence[str] | None = None,
        slots: int | Literal["auto"] = "auto",
        adapters: Mapping[str, Renderer] | None = None,
        early: float = EARLY,
    ) -> None:
        self._settings, self._broker_url, self._pool, self._early = settings, broker_url, pool, early
        self._wanted_name, self._wanted_renderers = name, renderers
        self._adapters = registry.installed() if adapters is None else adapters
        self._admission, self._measures = Admission(slots), slots == "auto"
        # put of a SimpleQueue may interrupt itself, so that signal handlers can use it; no other queue's or event's.
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._state = State.WORKING
        self._hand = Hand(0)
        self._up_since = 0.0
        self._reported = (-1, -1)
        self.name = name or ""
        self.ready = threading.Event()
        """set once the worker takes frames"""

    def drain(self) -> None:
        """Finish the frames in hand, take no more, then end."""
        self._orders.put(_Order.DRAIN)

    def give_back(self) -> None:
        """Stop the renders, put their frames back into the queue, and end."""
        self._orders.put(_Order.GIVE_BACK)

    def run(self) -> None:
        """Work until `drain` or `give_back`.

        A broker that does not answer yet is waited for. Raises RendererUnavailable (with what to install),
        SettingsError (no sandbox where one must be, no TLS), Conflict (the name is taken) and AccessRefused at the
        start, OutputError where the cache can not be written, later what ended a link for good.
        """
        settings = self._settings
        found = skills.find(self._adapters, settings, self._wanted_renderers)
        shared = tuple(settings.sandbox_shared)
        self._sandbox = sandbox.find(settings.sandbox, shared=shared, folder=settings.cache / "sandbox")
        if not self._sandbox.is_closed:
            log.warning(
                "renders are not in a sandbox: they can read and write what this worker can (%s)", self._sandbox.why
            )
        with contextlib.ExitStack() as stack:
            try:
                claimed, self._lines = connect(
                    self._broker_url,
                    topology.class_queue_name(self._pool, found.of_class),
                    locks=self._settings.cache / "names",
                    name=self._wanted_name,
                    wanted=self._orders.empty,
                )
            except BrokerUnavailable:
                if self._orders.empty():
                    raise
                return  # somebody wants us to end, and nothing has begun
            self.name = claimed.name
            stack.callback(claimed.release)
            stack.callback(self._lines.close)
            self._equip(found)
            stack.callback(self._end)
            self._begin()
            self._work()

    # -- beginning ---------------------------------------------------------------------------------------------------

    def _equip(self, found: skills.Skills) -> None:
        """Put the parts together."""
        cache, lines = self._settings.cache, self._lines
        scratch.clean(cache / "attempts", cache / "names")
        self._scratch = scratch.Scratch(cache / "attempts", self.name)
        store = BlobStore(cache / "blobs", durable=False, forget=partial(forget, cache))
        store.clean(_KEPT)
        checkpoints.clean(cache / "checkpoints")
        box = lines.mailbox.queue_name
        self._receiver = BlobReceiver(lines.results, lines.mailbox, box, store)
        inputs = InputCache(cache, store, self._receiver.fetch)
        self._warming = Warming(inputs)
        self._intake = Intake(lines.frames, lines.queue, self.name, self._hand, on_new=self._warm)
        self._results = Results(lines.results, worker=self.name, reply_queue=box, on_settled=self._settled)
        self._holder = BlobHolder(lines.results, self._results.path)
        self._places = Places()
        self._followers = Followers(lines.results)
        tools = Tools(
            skills=found,
            cache=inputs,
            scratch=self._scratch,
            sandbox=self._sandbox,
            bounds=limits.configured(self._settings, Machine().memory),
            places=self._places,
            followers=self._followers,
        )
        self._slots = Slots(self._hand, self._intake, self._results, tools, on_change=self._changed)
        self._card = reports.Card(
            worker=self.name,
            pool=self._pool,
            queue=lines.queue,
            renderers=dict(found.versions),
            sandboxed=self._sandbox.is_closed,
            allows={name: _listed(allowed) for name, allowed in found.allows.items()},
        )

    def _begin(self) -> None:
        mailbox, results = self._lines.mailbox, self._results
        self._lines.on_up, self._lines.on_down = self._connected, self._intake.connection_lost
        mailbox.on(Stop, self._called_off)
        mailbox.on(Quarantine, self._quarantined)
        mailbox.on(JobNews, lambda delivery, news: self._places.forget(news.job))
        mailbox.on(ReportWanted, lambda delivery, message: self._orders.put(_Order.REPORT))
        mailbox.on(ReadLog, self._followers.answer)
        mailbox.on(wire_blobs.Read, self._holder.answer)
        mailbox.on(wire_blobs.Wanted, results.on_wanted)
        mailbox.on(wire_blobs.Stored, results.on_stored)
        mailbox.on(wire_blobs.Refused, results.on_refused)
        self._lines.frames.consume(mailbox.consumer())
        self._look()
        self._report()
        self.ready.set()
        log.info("worker %s takes frames from %s", self.name, self._lines.queue)

    # -- the clock ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Keep the clock until the worker is to end."""
        tick, report = time.monotonic() + TICK, time.monotonic() + reports.EVERY
        while not (self._state is State.DRAINING and self._hand.is_empty):
            order = self._next_order(tick)
            if order is _Order.GIVE_BACK:
                self._leave()
                return
            if order is _Order.DRAIN:
                self._drain()
            elif order in (_Order.QUARANTINE, _Order.RELEASE):
                self._rest(order is _Order.QUARANTINE)
            self._lines.check()
            now = time.monotonic()
            ticks = now >= tick
            changed = self._look(shrink=ticks)
            if ticks:
                tick = now + TICK
                changed |= self._look_at_disk()
                self._tick(now)
            if changed or order in _TOLD or now >= report:
                report = now + reports.EVERY
                self._report()

    def _next_order(self, tick: float) -> _Order | None:
        """The next order, None at the time `tick`, and earlier where the machine has to be measured."""
        timeout = max(tick - time.monotonic(), 0.0)
        if self._measures and not self._hand.is_empty:
            timeout = min(timeout, MEASURE)
        with contextlib.suppress(queue.Empty):
            return self._orders.get(timeout=timeout)
        return None

    def _look(self, *, shrink: bool = True) -> bool:
        """Have as many slots and as much room as is right now; True where one of them has changed.

        Room that is to grow does so at once, and shrinks once a second at most: its measures waver.
        """
        if self._state is not State.WORKING:
            return False
        self._slots.resize(self._admission.limit)
        self._intake.resize(self._room() if shrink else max(self._room(), self._intake.room))
        return (self._slots.count, self._intake.room) != self._reported

    def _look_at_disk(self) -> bool:
        """Take nothing while too little is free on our disk, and go on when there is room again; True at a change."""
        free, wanted = shutil.disk_usage(self._settings.cache).free, self._settings.free_space
        if self._state is State.WORKING and free < wanted:
            log.warning("worker %s takes no frames: its disk has only %s left", self.name, size(free))
            self._state = State.DISK_FULL
            self._intake.resize(0)
            for delivery in self._hand.take_waiting():
                self._intake.give_back(delivery)
            return True
        if self._state is State.DISK_FULL and free >= wanted + min(_ROOM_AGAIN, wanted // 10):
            log.info("worker %s takes frames again: its disk has %s left", self.name, size(free))
            self._state = State.WORKING
            return self._look() or True
        return False

    def _room(self) -> int:
        now, rendering = time.monotonic(), self._rendering()
        connected = now - self._up_since > STALE
        bare = sum(1 for one in rendering if one.early or (connected and one.delivery is None))
        return room(self._slots.count, ahead=self._ahead(now, rendering), uploading=self._results.uploading, bare=bare)

    def _rendering(self) -> list[Holding]:
        return [one for one in self._hand.holdings() if one.stage is Stage.RENDERING]

    def _ahead(self, now: float, rendering: Sequence[Holding]) -> int:
        """Frames to hold ahead; one that takes long already says more than the mean of those before it."""
        oldest = max((now - one.began for one in rendering), default=0.0)
        mean = self._slots.pace.mean
        return ahead(self._slots.count, None if mean is None else max(mean, oldest))

    def _tick(self, now: float) -> None:
        self._results.tick()
        self._followers.tick()
        self._places.tick(scarce=self._admission.is_scarce)
        rendering = self._rendering()
        for holding in rendering:
            if not holding.announced:
                self._results.started(holding)
            if now - holding.began >= self._early and not holding.early:
                self._intake.acknowledge(self._hand.release_early(holding))
        free = max(self._slots.count - len(rendering), 0)
        for delivery in self._hand.take_waiting(free + self._ahead(now, rendering), before=now - STALE):
            self._intake.give_back(delivery)

    def _report(self) -> None:
        if self._lines.results.blocked is not None:
            self._reported = (-1, -1)  # a report would wait, and be of yesterday: there is one soon after the alarm
            return
        slots, places = self._slots.count, self._intake.room
        self._reported = (slots, places)
        held = self._hand.holdings()
        self._lines.results.publish(self._card.report(self._state, slots=slots, room=places, held=held))

    # -- called by other threads -------------------------------------------------------------------------------------

    def _connected(self) -> None:
        self._up_since = time.monotonic()
        self._orders.put(_Order.REPORT)

    def _warm(self, render: Render) -> None:
        if self._hand.is_waiting:  # a slot that is free begins at once
            self._warming.begin(render)

    def _changed(self) -> None:
        self._orders.put(_Order.LOOK)

    def _called_off(self, delivery: Delivery, message: Stop) -> None:
        for waiting in self._hand.call_off(message.job, message.frames):
            self._intake.acknowledge(waiting)
        if message.frames is None:
            self._places.forget(message.job)

    def _quarantined(self, delivery: Delivery, message: Quarantine) -> None:
        if message.worker == self.name:
            if message.reason is not None:
                log.warning("worker %s is quarantined by the server: %s", self.name, message.reason)
            self._orders.put(_Order.RELEASE if message.reason is None else _Order.QUARANTINE)

    def _settled(self, holding: Holding) -> None:
        self._slots.settled(holding)
        if holding.large or self._state is State.DRAINING:
            self._changed()

    # -- ending ------------------------------------------------------------------------------------------------------

    def _rest(self, rest: bool) -> None:
        """Take no more frames, and finish those that are rendered, until the server says otherwise."""
        if rest and self._state in (State.WORKING, State.DISK_FULL):
            self._state = State.QUARANTINED
            self._intake.resize(0)
            for delivery in self._hand.take_waiting():
                self._intake.give_back(delivery)
        elif not rest and self._state is State.QUARANTINED:
            log.info("worker %s takes frames again", self.name)
            self._state = State.WORKING
            self._look()

    def _drain(self) -> None:
        if self._state in (State.WORKING, State.QUARANTINED, State.DISK_FULL):
            log.info("worker %s takes no more frames", self.name)
            self._state = State.DRAINING
            self._intake.close()
            for delivery in self._hand.take_waiting():
                self._intake.give_back(delivery)

    def _leave(self) -> None:
        """Give everything back at once; renders and confirms get a moment to end."""
        log.info("worker %s gives its frames back", self.name)
        self._drain()
        self._hand.close()
        for holding in self._rendering():
            holding.end(Ending.GIVEN_BACK)
            self._intake.give_back(self._hand.release(holding))
        self._hand.wait_empty(LEAVE)

    def _end(self) -> None:
        """Stop whatever still runs; what is still in hand goes back to the queue with the connection."""
        self._hand.close()
        self._intake.close()
        for holding in self._hand.holdings():
            holding.end(Ending.GIVEN_BACK)
        self._warming.close()
        self._receiver.close()
        self._slots.join(LEAVE)
        self._places.close()
        self._scratch.remove_all()
        self._state = State.ENDED
        self._lines.results.publish(self._card.report(State.ENDED, slots=0, room=0, held=()))


def _listed(allowed: Allowance) -> dict[str, list[str] | None]:
    return {name: None if choices is None else list(choices) for name, choices in allowed.items()}
